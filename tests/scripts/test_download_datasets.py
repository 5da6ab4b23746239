"""scripts/download_covid_dataset.sh and scripts/download_montgomery_dataset.sh against a server on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.miniature import COVID_ADDRESS, MADE, MONTGOMERY_ADDRESS, covid_archives, montgomery_archive, zip_bytes
from tests.scripts.test_download import PROJECT_ROOT, CheckpointServer, server  # noqa: F401

NAMES = ["coronacases_001", "radiopaedia_4_85506_1"]
SCANS, MASKS = "COVID-19-CT-Seg_20cases", "Lung_Mask"
XRAYS = "NLM-MontgomeryCXRSet.zip"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


def run(script: str, *arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"PATH": path or environment["PATH"], "POSE_VENV": sys.prefix}
    command = [shutil.which("bash"), str(PROJECT_ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


class Download:
    """A folder to download to, and the flags that name it and the server."""

    def __init__(self, server: CheckpointServer, folder: Path) -> None:  # noqa: F811
        self.server = server
        self.folder = folder
        self.mirror = f"http://127.0.0.1:{server.server_port}"

    def covid(self, **options) -> subprocess.CompletedProcess[str]:
        return self.run("download_covid_dataset.sh", **options)

    def montgomery(self, **options) -> subprocess.CompletedProcess[str]:
        return self.run("download_montgomery_dataset.sh", **options)

    def run(self, script: str, **options) -> subprocess.CompletedProcess[str]:
        return run(script, "--output_folder_path", self.folder, "--mirror", self.mirror, **options)

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def download(server: CheckpointServer, tmp_path: Path) -> Download:  # noqa: F811
    server.files = {**covid_archives(NAMES, (32, 32, 3)), **montgomery_archive(2)}
    return Download(server, tmp_path / "data sets" / "covid")


VOLUMES = sorted(f"{folder}/{name}.nii.gz" for folder in (SCANS, MASKS) for name in NAMES)
PICTURES = sorted(
    [f"ClinicalReadings/{name}.txt" for name in ("MCUCXR_0001_1", "MCUCXR_0002_0")]
    + [
        f"{folder}/{name}.png"
        for folder in ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask")
        for name in ("MCUCXR_0001_1", "MCUCXR_0002_0")
    ]
)


def test_covid_is_downloaded_and_unpacked_once(download: Download) -> None:
    result = download.covid()
    assert (result.returncode, result.stderr) == (0, "")
    assert download.files() == VOLUMES
    summary = [f"{download.folder}/{folder}: 2 volumes" for folder in (SCANS, MASKS)]
    assert result.stdout.splitlines()[-2:] == summary
    assert [path for path, _ in download.server.requests] == [f"{COVID_ADDRESS}{name}.zip" for name in (SCANS, MASKS)]

    again = download.covid()
    assert (again.returncode, again.stdout.splitlines(), len(download.server.requests)) == (0, summary, 2)


def test_montgomery_is_downloaded_and_unpacked_once(download: Download) -> None:
    result = download.montgomery()
    assert (result.returncode, result.stderr) == (0, "")
    assert download.files() == PICTURES
    summary = f"{download.folder}: 2 X-rays with masks and readings"
    assert result.stdout.splitlines()[-1] == summary
    again = download.montgomery()
    assert (again.returncode, again.stdout.splitlines(), len(download.server.requests)) == (0, [summary], 1)


def test_a_download_that_was_cut_off_is_resumed(download: Download) -> None:
    download.server.cut_after = 1000
    result = download.montgomery()
    assert result.returncode == 1
    assert result.stderr == f"error: {download.mirror}{MONTGOMERY_ADDRESS}{XRAYS}: the connection broke\n"
    assert download.files() == [f"{XRAYS}.part"]
    result = download.montgomery()
    assert (result.returncode, download.files()) == (0, PICTURES)
    assert download.server.requests[-1][1] == 1000


def test_a_resumed_download_that_does_not_fit_starts_again(download: Download) -> None:
    download.folder.mkdir(parents=True)
    (download.folder / f"{XRAYS}.part").write_bytes(b"x" * 700)
    result = download.montgomery()
    assert (result.returncode, download.files()) == (0, PICTURES)
    assert f"{XRAYS}: the resumed download is not sound; from the start again" in result.stdout


def test_what_is_no_archive_is_refused(download: Download) -> None:
    address = f"{COVID_ADDRESS}{SCANS}.zip"
    download.server.files[address] = b"<html>please accept our terms</html>"
    result = download.covid()
    assert result.returncode == 1
    assert result.stderr == f"error: {download.mirror}{address}: what came is not a sound zip archive; removed\n"
    assert download.files() == []


def test_an_archive_with_a_damaged_file_is_refused(download: Download) -> None:
    address = f"{MONTGOMERY_ADDRESS}{XRAYS}"
    content = bytearray(download.server.files[address])
    content[len(content) // 2] ^= 255
    download.server.files[address] = bytes(content)
    result = download.montgomery()
    assert result.returncode == 1 and "is not a sound zip archive; removed" in result.stderr
    assert download.files() == []


def test_an_archive_of_something_else_is_refused(download: Download) -> None:
    address = f"{MONTGOMERY_ADDRESS}{XRAYS}"
    download.server.files[address] = zip_bytes({"readme.txt": b"moved"})
    result = download.montgomery()
    archive = download.folder / XRAYS
    assert (result.returncode, result.stderr) == (1, f"error: {archive}: holds no folder CXR_png\n")
    assert download.files() == [XRAYS]


def test_an_archive_downloaded_by_hand_is_taken(download: Download) -> None:
    download.folder.mkdir(parents=True)
    for name in (SCANS, MASKS):
        (download.folder / f"{name}.zip").write_bytes(download.server.files[f"{COVID_ADDRESS}{name}.zip"])
        (download.folder / name).mkdir()  # as somebody may have who follows a guide
    result = download.covid()
    assert (result.returncode, result.stderr, download.server.requests) == (0, "", [])
    assert download.files() == VOLUMES


@pytest.mark.parametrize("script", ["download_covid_dataset.sh", "download_montgomery_dataset.sh"])
def test_offline_is_one_line(download: Download, script: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        download.mirror = f"http://127.0.0.1:{closed.getsockname()[1]}"
        result = download.run(script)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: {download.mirror}/")
    assert result.stderr.endswith(": no connection; is this machine online? The same command goes on from here\n")
    assert download.files() == []


@pytest.mark.parametrize("script", ["download_covid_dataset.sh", "download_montgomery_dataset.sh"])
def test_neither_curl_nor_unzip_is_needed(download: Download, script: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    result = download.run(script, path=str(tmp_path / "bin"))
    assert (result.returncode, result.stderr) == (0, "")
    assert download.files() == (VOLUMES if "covid" in script else PICTURES)


def test_no_name_in_an_archive_leads_out_of_the_folder(download: Download, tmp_path: Path) -> None:
    names = ["../../../up.nii.gz", f"{tmp_path}/absolute.nii.gz", "within/../aside.nii.gz"]
    for part in (SCANS, MASKS):
        download.server.files[f"{COVID_ADDRESS}{part}.zip"] = zip_bytes(dict.fromkeys(names, b"scan"))
    assert download.covid().returncode == 0
    found = sorted(f"{part}/{Path(name).name}" for part in (SCANS, MASKS) for name in names)
    assert download.files() == found
    assert {path for path in tmp_path.rglob("*.nii.gz")} == {download.folder / name for name in found}


def test_an_archive_without_volumes_is_refused(download: Download) -> None:
    download.server.files[f"{COVID_ADDRESS}{SCANS}.zip"] = zip_bytes({"readme.txt": b"moved"})
    result = download.covid()
    archive = download.folder / f"{SCANS}.zip"
    assert (result.returncode, result.stderr) == (1, f"error: {archive}: holds no .nii.gz\n")
    assert download.files() == [f"{SCANS}.zip"]


def test_what_is_downloaded_again_is_as_old_as_its_archive_says(download: Download) -> None:
    assert download.covid().returncode == 0
    assert {datetime.fromtimestamp((download.folder / name).stat().st_mtime) for name in VOLUMES} == {datetime(*MADE)}


def test_a_volume_without_masks_is_named(download: Download) -> None:
    assert download.covid().returncode == 0
    (download.folder / MASKS / f"{NAMES[1]}.nii.gz").unlink()
    result = download.covid()
    assert result.returncode == 1
    scan = download.folder / SCANS / f"{NAMES[1]}.nii.gz"
    masks = download.folder / MASKS
    assert result.stderr == f"error: {scan}: is not in {masks}; remove both folders to download them again\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folder", "x"], "--folder: no such flag; see --help"),
        (["--mirror"], "--mirror: needs a value"),
        (["--mirror="], "--mirror: needs a value"),
        (["--output_folder_path", "--mirror", "x"], "--output_folder_path: needs a value"),
        (["x"], "x: not understood; see --help"),
        (["--", "x"], "--: nothing is passed on here; see --help"),
    ],
)
def test_a_mistake_in_the_flags_is_one_line(arguments: list[str], message: str) -> None:
    result = run("download_covid_dataset.sh", *arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"error: {message}\n")
