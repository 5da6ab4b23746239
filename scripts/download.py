#!/usr/bin/env python3
"""Download weights of models, or a data set of the paper; scripts/download_*.sh say how."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose import cli
from pose.cli import UserError
from pose.files.atomic import failure_named, write_atomically
from pose.files.plain_yaml import read_yaml
from pose.segmenters.models import CHECKPOINTS_FOLDER, CONFIGS_FOLDER, sha256_of

CONNECT_SECONDS, STALLED_SECONDS = 20, 60
BUSY = (408, 429, 500, 502, 503, 504)
COVID_ADDRESS = "https://zenodo.org/record/3757476/files"
COVID_PARTS = ("COVID-19-CT-Seg_20cases", "Lung_Mask")
MONTGOMERY_ADDRESS = "https://openi.nlm.nih.gov/imgs/collections/NLM-MontgomeryCXRSet.zip"
# the X-rays come last: where they are, all is there
MONTGOMERY_PARTS = ("ManualMask", "ClinicalReadings", "CXR_png")


class DownloadError(UserError):
    """Something could not be had; ``offline`` where no other address of the same host is worth trying."""

    offline = False


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("checkpoints", "covid", "montgomery"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="of checkpoints (default: all)")
    parser.add_argument("--list", action="store_true", help="say which checkpoints there are")
    parser.add_argument("--output_folder_path", type=Path, default=CHECKPOINTS_FOLDER, metavar="FOLDER")
    parser.add_argument("--mirror", default="", metavar="URL", help="stands for scheme and host of each address")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code, 1 where something could not be had."""
    arguments = make_parser().parse_intermixed_args(argv)
    sys.stdout.reconfigure(line_buffering=True)
    folder, mirror = arguments.output_folder_path, arguments.mirror
    if arguments.what == "checkpoints":
        return download_checkpoints(folder, mirror, arguments.names, arguments.list)
    try:
        (download_covid if arguments.what == "covid" else download_montgomery)(folder, mirror)
    except DownloadError as error:
        hint = "; is this machine online? The same command goes on from here" if error.offline else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return 1
    return 0


def address_at(mirror: str, address: str) -> str:
    """Return ``address`` as ``mirror`` has it, which stands for scheme and host; without a mirror as it is."""
    return mirror.rstrip("/") + address.removeprefix("/".join(address.split("/")[:3])) if mirror else address


def megabytes(size: int | None) -> str:
    """Return bytes in words."""
    return "size unknown" if size is None else f"{(size + 500_000) // 1_000_000} MB"


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def fetch(address: str, part: Path) -> None:
    """Download ``address`` into ``part``, going on after what it holds; a server that cannot starts it again.

    Raises:
        DownloadError: what came until then stays in ``part``.
        UserError: the environment lacks a package.
    """
    try:
        import requests
        import urllib3
        from tqdm import tqdm
    except ImportError as error:
        raise UserError(f"{sys.prefix}: {error}; run scripts/setup.sh first") from None

    first = size_of(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={first}-"} if first else {})
    retry = urllib3.Retry(2, connect=0, status_forcelist=BUSY, backoff_factor=1, raise_on_status=False)
    offline = False
    try:
        with requests.Session() as session:
            session.adapters = dict.fromkeys(("https://", "http://"), requests.adapters.HTTPAdapter(max_retries=retry))
            answer = session.get(address, headers=headers, stream=True, timeout=(CONNECT_SECONDS, STALLED_SECONDS))
            if first and answer.status_code == 416:
                return  # nothing follows: all of it is there, or something else
            answer.raise_for_status()
            resumed = answer.status_code == 206
            first *= resumed
            total = first + int(answer.headers.get("Content-Length", 0))
            with (
                part.open("ab" if resumed else "wb") as file,
                tqdm(total=total or None, initial=first, unit="B", unit_scale=True, disable=None, leave=False) as bar,
            ):
                # unlike requests' own chunks, read1 loses no byte of what came before a connection broke
                while block := answer.raw.read1(1 << 20):
                    bar.update(file.write(block))
        return
    except requests.HTTPError:
        reason = f"the server answered {answer.status_code}"
    except requests.exceptions.SSLError:
        reason, offline = "no secure connection", True
    except (requests.ConnectionError, requests.Timeout) as error:
        reason, offline = "no connection", True
        for words, meaning in (("Failed to resolve", "the host is not found"), ("timed out", "no answer in time")):
            reason = meaning if words in str(error) else reason
    except urllib3.exceptions.HTTPError:
        reason = "the connection broke"
    except requests.RequestException as error:
        reason = str(error)
    except OSError as error:
        reason = f"{part} cannot be written: {error.strerror}"
    finally:
        if not size_of(part):
            part.unlink(missing_ok=True)
    failure = DownloadError(f"{address}: {reason}")
    failure.offline = offline
    raise failure


def download(address: str, file: Path, fault_of: Callable[[Path], str | None], size: int | None = None) -> None:
    """Download ``address`` to ``file``, which appears only once ``fault_of`` finds no fault in it.

    Raises:
        DownloadError: it cannot be had, or is not sound; what was cut off is kept for the next call.
    """
    part = file.with_name(f"{file.name}.part")
    while True:
        first = size_of(part)
        of_size = f" of {megabytes(size)}" if size else ""
        print(f"{file.name}: {f'resuming after {megabytes(first)}' if first else 'downloading'}{of_size}")
        # nothing is left to ask for where all bytes are there
        if not first or not size or first < size:
            fetch(address, part)
        fault = fault_of(part)
        if fault is None:
            with failure_named(file):
                part.replace(file)
            return
        part.unlink(missing_ok=True)
        if not first:
            raise DownloadError(f"{address}: {fault}; removed")
        print(f"{file.name}: the resumed download is not sound; from the start again")


def download_checkpoints(folder: Path, mirror: str, names: Sequence[str], only_list: bool) -> int:
    """Download the weights of the models named, of all without names; returns 1 where something could not be had.

    Raises:
        UserError: an unknown name; nothing is downloaded then.
    """
    models = {path: read_yaml(path) for path in sorted(CONFIGS_FOLDER.glob("*.yaml"))}
    for path, model in models.items():
        if not (isinstance(model, dict) and isinstance(model.get("name"), str) and model.get("checkpoint")):
            raise UserError(f"{path}: holds no name: and checkpoint:")
    known = [model for model in models.values() if model.get("url")]
    if only_list:
        for model in known:
            print(f"{model['name']:<15} {model['checkpoint']:<26} {megabytes(model.get('size_bytes'))}")
        return 0
    chosen = [] if names else known
    for name in names:
        found = [path for path, model in models.items() if name in (model["name"], model["checkpoint"])]
        if not found:
            listed = ", ".join(model["name"] for model in known)
            raise UserError(f"{name}: no such model or file; known are {listed}")
        for path in found:
            if models[path].get("url"):
                chosen.append(models[path])
                continue
            packaged = models[path].get("packaged")
            why = "its weights come inside a package" if packaged else f"{path.name} names no address"
            print(f"{name}: nothing to download; {why}")

    with failure_named(folder, "cannot be created"):
        folder.mkdir(parents=True, exist_ok=True)
    counts = {"downloaded": 0, "there already": 0, "failed": 0, "not tried": 0}
    unreachable = set()
    for model in chosen:
        address = address_at(mirror, model["url"])
        host = urlsplit(address).netloc
        try:
            became = "not tried" if host in unreachable else see_to_checkpoint(model, address, folder)
        except DownloadError as error:
            print(f"error: {error}", file=sys.stderr)
            became = "failed"
            if error.offline:
                unreachable.add(host)
        counts[became] += 1
    shown = [f"{count} {what}" for what, count in counts.items() if count or what in ("downloaded", "there already")]
    print(f"checkpoints in {folder}: {', '.join(shown)}")
    return 1 if counts["failed"] else 0


def see_to_checkpoint(model: dict[str, Any], address: str, folder: Path) -> str:
    """See to it that the weights of a model are there and sound; returns "downloaded" or "there already".

    Where no hash is published, that of the first weights is recorded beside them.

    Raises:
        DownloadError: they cannot be had, or the record is none.
        UserError: something cannot be written.
    """
    file = folder / model["checkpoint"]
    record = file.with_name(f"{file.name}.sha256")
    expected, origin = model.get("sha256"), ""
    if not expected and record.exists():
        expected, origin = record.read_text(errors="replace").partition(" ")[0].strip(), f" as {record} says"
        if not re.fullmatch("[0-9a-f]{64}", expected):
            raise DownloadError(f"{record}: holds no SHA-256; remove it to record that of the file anew")

    def fault_of(path: Path) -> str | None:
        digest = sha256_of(path)
        return f"SHA-256 is {digest}, not {expected}{origin}" if expected and digest != expected else None

    became = "there already"
    if not file.is_file() or fault_of(file):
        became = "downloaded"
        if file.is_file():
            print(f"{file}: not sound, its SHA-256 is {sha256_of(file)}; replacing it")
        if not expected:  # nothing would show that the rest of a download belongs to its beginning
            file.with_name(f"{file.name}.part").unlink(missing_ok=True)
        download(address, file, fault_of, model.get("size_bytes"))
    if not expected:
        digest = sha256_of(file)
        write_atomically(record, lambda path: path.write_text(f"{digest}  {file.name}\n"))
        print(f"{file.name}: SHA-256 is {digest}; no published one is known: recorded in {record}")
    return became


def fault_of_archive(path: Path) -> str | None:
    """Read every file of a zip archive; returns what is wrong with it, None where it is sound."""
    try:
        with zipfile.ZipFile(path) as archive:
            sound = archive.testzip() is None
    except Exception:  # of a damaged archive zipfile raises zlib.error, EOFError, NotImplementedError, ... too
        sound = False
    return None if sound else "what came is not a sound zip archive"


@contextmanager
def unpacked(address: str, archive: Path) -> Iterator[Path]:
    """Yield a folder with the files of an archive, which is downloaded unless it is there, but what macOS and Windows
    leave in archives. At the end the folder is removed, and the archive where nothing was raised.
    """
    with failure_named(archive.parent, "cannot be created"):
        archive.parent.mkdir(parents=True, exist_ok=True)
    if not archive.is_file():
        download(address, archive, fault_of_archive)
    elif fault_of_archive(archive):
        raise DownloadError(f"{archive}: is not a sound zip archive; remove it to download it again")
    print(f"{archive.stem}: unpacking")
    folder = archive.with_name(f".part-{archive.stem}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with failure_named(archive, "cannot be unpacked"), zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                path = PurePosixPath(info.filename)
                if "__MACOSX" in path.parts or path.name.startswith("._") or path.name in (".DS_Store", "Thumbs.db"):
                    continue
                # extract() drops what would lead out of the folder: leading slashes and ..
                extracted = opened.extract(info, folder)
                # what is downloaded again must not be newer than what was made of it
                os.utime(extracted, (time.mktime((*info.date_time, 0, 0, -1)),) * 2)
        yield folder
        archive.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def download_covid(folder: Path, mirror: str) -> None:
    """Download chest CTs and their lung masks; the volumes of an archive appear in its folder all at once.

    Raises:
        DownloadError: something could not be had.
    """
    for part in COVID_PARTS:
        if any((folder / part).glob("[!.]*.nii.gz")):
            continue
        archive = folder / f"{part}.zip"
        with unpacked(address_at(mirror, f"{COVID_ADDRESS}/{archive.name}"), archive) as scratch:
            volumes = [path for path in scratch.rglob("*.nii.gz") if path.is_file()]
            if not volumes:
                raise DownloadError(f"{archive}: holds no .nii.gz")
            flat = scratch / ".volumes"
            flat.mkdir()
            for path in volumes:
                path.replace(flat / path.name)
            with failure_named(folder / part, "holds other things than .nii.gz"):
                flat.replace(folder / part)
    for part, other in (COVID_PARTS, COVID_PARTS[::-1]):
        volumes = sorted((folder / part).glob("[!.]*.nii.gz"))
        for path in volumes:
            if not (folder / other / path.name).is_file():
                raise DownloadError(f"{path}: is not in {folder / other}; remove both folders to download them again")
        print(f"{folder / part}: {len(volumes)} volumes")


def download_montgomery(folder: Path, mirror: str) -> None:
    """Download X-rays, their masks and their readings.

    Raises:
        DownloadError: something could not be had.
    """
    xrays = folder / "CXR_png"
    if not xrays.is_dir():
        archive = folder / MONTGOMERY_ADDRESS.rpartition("/")[2]
        with unpacked(address_at(mirror, MONTGOMERY_ADDRESS), archive) as scratch:
            root = next((path.parent for path in scratch.rglob("CXR_png")), scratch)
            for part in reversed(MONTGOMERY_PARTS):
                if not (root / part).is_dir():
                    raise DownloadError(f"{archive}: holds no folder {part}")
            for part in MONTGOMERY_PARTS:
                if not (folder / part).is_dir():
                    (root / part).replace(folder / part)
    pictures = sorted(xrays.glob("[!.]*.png"))
    for path in pictures:
        masks = [folder / "ManualMask" / f"{side}Mask" / path.name for side in ("left", "right")]
        for other in (*masks, folder / "ClinicalReadings" / f"{path.stem}.txt"):
            if not other.is_file():
                raise DownloadError(f"{other}: is missing; remove the folders in {folder} to download them again")
    print(f"{folder}: {len(pictures)} X-rays with masks and readings")


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
