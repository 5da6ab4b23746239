"""scripts/download_model_checkpoints.sh against a server on this machine, and the configurations that it reads."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SCRIPT = PROJECT_ROOT / "scripts" / "download_model_checkpoints.sh"
CONFIGS = sorted((PROJECT_ROOT / "sam2_configs").glob("*.yaml"))
PUBLISHED_NAMES = {
    *("vit_b", "vit_l", "vit_h", "tiny", "small", "base_plus", "large"),
    *("2.1_tiny", "2.1_small", "2.1_base_plus", "2.1_large"),
}
# what bash itself needs: downloads and hashes take no other program
TOOLS = ["bash", "dirname", "sed"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


class CheckpointServer(ThreadingHTTPServer):
    """Serves ``files`` by path, from the byte asked for on; ``requests`` lists (path, first byte) as they come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CheckpointHandler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, int]] = []
        self.can_resume = True
        self.cut_after: int | None = None  # the connection breaks after so many bytes, once
        self.busy = 0  # so many requests are turned away


class CheckpointHandler(BaseHTTPRequestHandler):
    server: CheckpointServer

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(asked.group(1)) if asked and self.server.can_resume else 0
        self.server.requests.append((self.path, first))
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(503)
            return
        if content is None:
            self.send_error(404)
            return
        if first >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        last, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(content[first:] if last is None else content[first : first + last])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    with CheckpointServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class Project:
    """A copy of the scripts with two small models, "small_one" (with a size) and "2.1_other" (without)."""

    def __init__(self, folder: Path, server: CheckpointServer) -> None:
        self.folder = folder
        self.weights = folder / "model_checkpoints"
        self.small = bytes(range(256)) * 40
        self.other = b"other weights" * 500
        server.files = {"/a/one.pt": self.small, "/b/other.pt": self.other}
        self.prefix = f"http://127.0.0.1:{server.server_port}"
        (folder / "scripts").mkdir()
        for name in ("download_model_checkpoints.sh", "download_checkpoints.sh", "download.py", "flags.sh"):
            shutil.copy(PROJECT_ROOT / "scripts" / name, folder / "scripts")
        shutil.copytree(PROJECT_ROOT / "pose", folder / "pose", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "sam2_configs").mkdir()
        self.write_config("small_one", "a/one.pt", self.small, size_bytes=len(self.small))
        self.write_config("2.1_other", "b/other.pt", self.other)
        (folder / "sam2_configs" / "inside.yaml").write_text("name: inside\ncheckpoint: inside.pth\npackaged: true\n")
        (folder / "bin").mkdir()
        for tool in TOOLS:
            (folder / "bin" / tool).symlink_to(shutil.which(tool))

    def write_config(self, name: str, path: str, content: bytes, **more: object) -> None:
        entry = {
            "name": name,
            "checkpoint": path.split("/")[-1],
            "url": f"https://weights.invalid/{path}",
            "sha256": hashlib.sha256(content).hexdigest(),
            **more,
        }
        (self.folder / "sam2_configs" / f"{name}.yaml").write_text("# a model\n" + yaml.safe_dump(entry))

    def run(
        self, *names: str, script: str = "download_model_checkpoints.sh", venv: str = sys.prefix
    ) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        environment |= {"PATH": str(self.folder / "bin"), "MODEL_CHECKPOINTS_URL_PREFIX": self.prefix}
        environment["POSE_VENV"] = venv
        environment.pop("CHECKPOINTS_FOLDER", None)
        command = ["bash", str(self.folder / "scripts" / script), *names]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def project(tmp_path: Path, server: CheckpointServer) -> Project:
    return Project(tmp_path, server)


@pytest.mark.parametrize("script", ["download_model_checkpoints.sh", "download_checkpoints.sh"])
def test_without_names_all_are_downloaded(project: Project, script: str) -> None:
    result = project.run(script=script)
    assert result.returncode == 0, result.stderr
    assert (project.weights / "one.pt").read_bytes() == project.small
    assert (project.weights / "other.pt").read_bytes() == project.other
    assert sorted(path.name for path in project.weights.iterdir()) == ["one.pt", "other.pt"]
    assert result.stdout.splitlines()[-1] == f"checkpoints in {project.weights}: 2 downloaded, 0 there already"
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["small_one", "one.pt"])
def test_a_model_is_named_by_name_or_file(project: Project, server: CheckpointServer, name: str) -> None:
    assert project.run(name).returncode == 0
    assert [path.name for path in project.weights.iterdir()] == ["one.pt"]
    assert server.requests == [("/a/one.pt", 0)]


def test_a_sound_file_is_skipped(project: Project, server: CheckpointServer) -> None:
    project.weights.mkdir()
    (project.weights / "one.pt").write_bytes(project.small)
    result = project.run("small_one")
    assert result.returncode == 0
    assert result.stdout == f"checkpoints in {project.weights}: 0 downloaded, 1 there already\n"
    assert server.requests == []


def test_an_unsound_file_is_named_and_replaced(project: Project, server: CheckpointServer) -> None:
    project.weights.mkdir()
    (project.weights / "one.pt").write_bytes(b"damaged")
    result = project.run("small_one")
    assert result.returncode == 0
    digest = hashlib.sha256(b"damaged").hexdigest()
    assert result.stdout.splitlines()[0] == (
        f"{project.weights}/one.pt: not sound, its SHA-256 is {digest}; replacing it"
    )
    assert (project.weights / "one.pt").read_bytes() == project.small


def test_a_part_is_resumed(project: Project, server: CheckpointServer) -> None:
    project.weights.mkdir()
    (project.weights / "one.pt.part").write_bytes(project.small[:4000])
    result = project.run("small_one")
    assert result.returncode == 0, result.stderr
    assert server.requests == [("/a/one.pt", 4000)]
    assert (project.weights / "one.pt").read_bytes() == project.small
    assert not (project.weights / "one.pt.part").exists()


@pytest.mark.parametrize("name", ["small_one", "2.1_other"])
def test_a_whole_part_becomes_the_file(project: Project, server: CheckpointServer, name: str) -> None:
    file, content = ("one.pt", project.small) if name == "small_one" else ("other.pt", project.other)
    project.weights.mkdir()
    (project.weights / f"{file}.part").write_bytes(content)
    result = project.run(name)
    assert result.returncode == 0, result.stderr
    assert (project.weights / file).read_bytes() == content
    assert all(first == len(content) for _, first in server.requests)


@pytest.mark.parametrize("part", [b"x" * 4000, b"x" * 20000], ids=["shorter", "longer"])
def test_a_part_of_something_else_is_downloaded_again(project: Project, server: CheckpointServer, part: bytes) -> None:
    project.weights.mkdir()
    (project.weights / "one.pt.part").write_bytes(part)
    result = project.run("small_one")
    assert result.returncode == 0, result.stderr
    assert server.requests[-1] == ("/a/one.pt", 0)
    assert (project.weights / "one.pt").read_bytes() == project.small


def test_a_broken_download_goes_on_where_it_stopped(project: Project, server: CheckpointServer) -> None:
    server.cut_after = 3000
    result = project.run("small_one")
    assert result.returncode == 1
    assert result.stderr == f"error: {project.prefix}/a/one.pt: the connection broke\n"
    assert (project.weights / "one.pt.part").read_bytes() == project.small[:3000]
    result = project.run("small_one")
    assert result.returncode == 0, result.stderr
    assert server.requests == [("/a/one.pt", 0), ("/a/one.pt", 3000)]
    assert (project.weights / "one.pt").read_bytes() == project.small


def test_a_server_that_cannot_resume(project: Project, server: CheckpointServer) -> None:
    server.can_resume = False
    project.weights.mkdir()
    (project.weights / "one.pt.part").write_bytes(project.small[:4000])
    result = project.run("small_one")
    assert result.returncode == 0, result.stderr
    assert (project.weights / "one.pt").read_bytes() == project.small


def test_a_wrong_hash_leaves_nothing_and_the_others_go_on(project: Project, server: CheckpointServer) -> None:
    server.files["/a/one.pt"] = changed = project.small[:-1] + b"!"
    result = project.run("small_one", "2.1_other")
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {project.prefix}/a/one.pt: SHA-256 is {hashlib.sha256(changed).hexdigest()}, "
        f"not {hashlib.sha256(project.small).hexdigest()}; removed\n"
    )
    assert [path.name for path in project.weights.iterdir()] == ["other.pt"]
    assert result.stdout.splitlines()[-1] == (
        f"checkpoints in {project.weights}: 1 downloaded, 0 there already, 1 failed"
    )


def test_an_unsound_file_stays_until_its_replacement_is_sound(project: Project, server: CheckpointServer) -> None:
    project.weights.mkdir()
    (project.weights / "one.pt").write_bytes(b"damaged")
    del server.files["/a/one.pt"]
    result = project.run("small_one")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: {project.prefix}/a/one.pt: the server answered ")
    assert [path.name for path in project.weights.iterdir()] == ["one.pt"]


def test_offline_is_one_line_with_the_address(project: Project) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        project.prefix = f"http://127.0.0.1:{closed.getsockname()[1]}"
        result = project.run("small_one", "2.1_other")
    assert result.returncode == 1
    assert result.stderr == f"error: {project.prefix}/a/one.pt: no connection\n"
    assert result.stdout.splitlines()[-1] == (
        f"checkpoints in {project.weights}: 0 downloaded, 0 there already, 1 failed, 1 not tried"
    )
    assert list(project.weights.iterdir()) == []


def test_an_unknown_name_stops_before_any_download(project: Project, server: CheckpointServer) -> None:
    result = project.run("small_one", "vit_x")
    assert result.returncode == 2
    assert result.stderr == "error: vit_x: no such model or file; known are 2.1_other, small_one\n"
    assert server.requests == []
    assert not project.weights.exists()


def test_a_server_that_is_busy_is_asked_again(project: Project, server: CheckpointServer) -> None:
    server.busy = 1
    assert project.run("small_one").returncode == 0
    assert server.requests == [("/a/one.pt", 0)] * 2
    assert (project.weights / "one.pt").read_bytes() == project.small


def test_before_setup_the_way_is_shown(project: Project, server: CheckpointServer) -> None:
    result = project.run("small_one", venv="nowhere")
    message = "error: nowhere: is no virtual environment; run scripts/setup.sh first\n"
    assert (result.returncode, result.stdout, result.stderr, server.requests) == (2, "", message, [])


def test_in_an_environment_of_an_earlier_version_the_way_is_shown(project: Project, server: CheckpointServer) -> None:
    (project.folder / "requests.py").write_text("raise ImportError('no requests here')\n")
    result = project.run("small_one")
    message = f"error: {sys.prefix}: no requests here; run scripts/setup.sh first\n"
    assert (result.returncode, result.stderr, server.requests) == (2, message, [])


def test_a_file_that_describes_no_model_is_named(project: Project, server: CheckpointServer) -> None:
    path = project.folder / "sam2_configs" / "broken.yaml"
    path.write_text("- a\n- b\n")
    result = project.run("small_one")
    assert (result.returncode, result.stderr) == (2, f"error: {path}: holds no name: and checkpoint:\n")


def test_packaged_weights_need_no_download(project: Project) -> None:
    result = project.run("inside")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "inside: nothing to download; its weights come inside a package"


class TestWithoutKnownHash:
    """A model whose configuration names no hash: the first download says what later ones are checked against."""

    @pytest.fixture
    def tuned(self, project: Project, server: CheckpointServer) -> bytes:
        content = b"fine-tuned weights" * 300
        server.files["/c/tuned.pt"] = content
        (project.folder / "sam2_configs" / "tuned.yaml").write_text(
            "name: tuned\nsha256:\nimage_size: 512\ncheckpoint: tuned.pt\nurl: https://weights.invalid/c/tuned.pt\n"
            "overrides:\n  - ++model.name=[1,2]\n  - '++model.url: x'\n"
        )
        return content

    def test_it_is_downloaded_and_its_hash_printed_and_recorded(self, project: Project, server, tuned: bytes) -> None:
        result = project.run("tuned")
        assert result.returncode == 0, result.stderr
        digest = hashlib.sha256(tuned).hexdigest()
        record = project.weights / "tuned.pt.sha256"
        assert f"tuned.pt: SHA-256 is {digest}; no published one is known: recorded in {record}" in result.stdout
        assert record.read_text() == f"{digest}  tuned.pt\n"
        assert sorted(path.name for path in project.weights.iterdir()) == ["tuned.pt", "tuned.pt.sha256"]
        assert server.requests == [("/c/tuned.pt", 0)]

        again = project.run("tuned")
        assert again.stdout == f"checkpoints in {project.weights}: 0 downloaded, 1 there already\n"
        assert again.returncode == 0 and len(server.requests) == 1

    def test_sha256sum_reads_the_record(self, project: Project, tuned: bytes) -> None:
        if shutil.which("sha256sum") is None:
            pytest.skip("no sha256sum on this machine")
        assert project.run("tuned").returncode == 0
        command = ["sha256sum", "--check", "--strict", "tuned.pt.sha256"]
        assert subprocess.run(command, cwd=project.weights, capture_output=True, check=False).returncode == 0

    def test_a_file_that_left_its_record_is_replaced(self, project: Project, tuned: bytes) -> None:
        assert project.run("tuned").returncode == 0
        (project.weights / "tuned.pt").write_bytes(b"damaged")
        result = project.run("tuned")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"{project.weights}/tuned.pt: not sound, its SHA-256 is ")
        assert (project.weights / "tuned.pt").read_bytes() == tuned

    def test_other_weights_at_the_same_address_are_refused(self, project: Project, server, tuned: bytes) -> None:
        assert project.run("tuned").returncode == 0
        (project.weights / "tuned.pt").unlink()
        server.files["/c/tuned.pt"] = b"other weights"
        result = project.run("tuned")
        assert result.returncode == 1
        assert result.stderr == (
            f"error: {project.prefix}/c/tuned.pt: SHA-256 is {hashlib.sha256(b'other weights').hexdigest()}, "
            f"not {hashlib.sha256(tuned).hexdigest()} as {project.weights}/tuned.pt.sha256 says; removed\n"
        )
        assert [path.name for path in project.weights.iterdir()] == ["tuned.pt.sha256"]

    def test_a_file_that_is_there_is_recorded(self, project: Project, server, tuned: bytes) -> None:
        project.weights.mkdir()
        (project.weights / "tuned.pt").write_bytes(b"my own")
        result = project.run("tuned")
        assert result.returncode == 0 and server.requests == []
        assert (project.weights / "tuned.pt.sha256").read_text().split() == [
            hashlib.sha256(b"my own").hexdigest(),
            "tuned.pt",
        ]

    def test_a_part_is_not_resumed(self, project: Project, server, tuned: bytes) -> None:
        project.weights.mkdir()
        (project.weights / "tuned.pt.part").write_bytes(b"x" * 100)
        assert project.run("tuned").returncode == 0
        assert server.requests == [("/c/tuned.pt", 0)]
        assert (project.weights / "tuned.pt").read_bytes() == tuned

    def test_a_record_of_something_else_is_named(self, project: Project, server, tuned: bytes) -> None:
        project.weights.mkdir()
        record = project.weights / "tuned.pt.sha256"
        record.write_text("<html>\n")
        result = project.run("tuned")
        assert result.returncode == 1 and server.requests == []
        assert result.stderr == f"error: {record}: holds no SHA-256; remove it to record that of the file anew\n"


def test_a_host_that_is_away_does_not_stop_another(project: Project) -> None:
    configs = project.folder / "sam2_configs"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away, here = f"http://127.0.0.1:{closed.getsockname()[1]}", project.prefix
        for name, host in (("2.1_other", away), ("small_one", here)):
            config = configs / f"{name}.yaml"
            config.write_text(config.read_text().replace("https://weights.invalid", host))
        project.prefix = ""
        result = project.run()
    assert result.stderr == f"error: {away}/b/other.pt: no connection\n"
    assert result.stdout.splitlines()[-1] == (
        f"checkpoints in {project.weights}: 1 downloaded, 0 there already, 1 failed"
    )
    assert (project.weights / "one.pt").read_bytes() == project.small


def test_a_model_of_ones_own_without_an_address(project: Project) -> None:
    (project.folder / "sam2_configs" / "mine.yaml").write_text("name: mine\ncheckpoint: mine.pt\n")
    result = project.run("mine")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "mine: nothing to download; mine.yaml names no address"


def test_list_names_what_can_be_downloaded() -> None:
    environment = {**os.environ, "POSE_VENV": sys.prefix}
    command = ["bash", str(SCRIPT), "--list"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert {row[0] for row in rows} == PUBLISHED_NAMES | {"medsam2"}
    sizes = {row[0]: row[2] for row in rows}
    assert (sizes["vit_b"], sizes["2.1_tiny"]) == ("375", "156")
    assert ["medsam2", "MedSAM2_latest.pt", "size", "unknown"] in rows


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_complete(path: Path) -> None:
    entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(entry["name"], str)
    if entry["name"] != "medsam2":
        assert re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        assert entry["licence"] == "Apache-2.0"
        assert isinstance(entry["size_bytes"], int)
    assert entry["image_size"] in (256, 512, 1024)
    assert ("url" in entry) != entry.get("packaged", False)
    if "url" in entry:
        assert entry["url"].startswith("https://")
        assert entry["url"].endswith("/" + entry["checkpoint"])


def test_the_models_of_the_table_are_there() -> None:
    names = {yaml.safe_load(path.read_text(encoding="utf-8"))["name"] for path in CONFIGS}
    assert names >= PUBLISHED_NAMES | {"medsam2", "lite_medsam"}


def test_sam2_has_the_configurations_that_are_named() -> None:
    from importlib.util import find_spec

    sam2 = find_spec("sam2")
    if sam2 is None:
        pytest.skip("sam2 is not installed")
    folder = Path(sam2.origin).parent
    entries = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CONFIGS]
    named = [entry["config"] for entry in entries if entry["family"] == "sam2"]
    assert len(named) >= 8
    for config in named:
        assert (folder / config).is_file()
