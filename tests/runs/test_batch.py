"""Tests of pose/runs/batch.py: what is done is skipped, what fails is recorded and does not stop the rest."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pose import cli, results
from pose.cli import UserError
from pose.files.atomic import DiskFullError
from pose.files.locks import FolderBusyError, folder_lock
from pose.runs import batch
from pose.runs.case import Job

ROOT = Path(__file__).resolve().parents[2]


def jobs_in(folder: Path, names: str) -> list[Job]:
    return [Job(folder / f"{name}.nii", None, folder / "results" / name) for name in names]


def made_from(job: Job) -> dict:
    return {"inputs": {"image": job.name}, "settings": {}, "code": {}}


class Work:
    """Writes results, or does what ``does`` says for a volume, and ``writing`` when it is written; remembers what it
    was asked, and what it has written.
    """

    def __init__(self, **does):
        self.does = does
        self.writing: dict[str, Callable[[], None]] = {}
        self.asked: list[tuple[str, bool]] = []
        self.written: list[str] = []
        self.warnings = 0

    def __call__(self, job: Job, origin: dict, less_memory: bool) -> batch.Finish:
        self.asked.append((job.name, less_memory))
        if job.name in self.does:
            self.does[job.name](less_memory)
        manifest = {"status": "done", "made_from": origin}

        def finish() -> batch.Written:
            if job.name in self.writing:
                self.writing[job.name]()
            files = results.write_results(job.results_folder, rows=[{"slice": 0}], prompts_json={}, manifest=manifest)
            self.written.append(job.name)
            return batch.Written(files, self.warnings)

        return finish


def failing(error: BaseException, with_less_memory: bool = True):
    def fail(less_memory: bool) -> None:
        if with_less_memory or not less_memory:
            raise error

    return fail


def manifests(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("results/*/run_*.json"))}


def test_every_volume_and_its_files(tmp_path, capsys):
    work = Work()
    assert batch.run_jobs(jobs_in(tmp_path, "ab"), work, made_from) == 0
    assert work.asked == [("a", False), ("b", False)]
    out = capsys.readouterr().out.splitlines()
    assert out == [f"{name}: results: {tmp_path / 'results' / name}" for name in "ab"]
    assert sorted(manifests(tmp_path)) == ["a", "b"]


def test_resume_skips_what_is_done_and_nothing_else(tmp_path, capsys):
    batch.run_jobs(jobs_in(tmp_path, "ab"), Work(), made_from)
    work = Work()
    assert batch.run_jobs(jobs_in(tmp_path, "abc"), work, made_from, resume=True) == 0
    assert work.asked == [("c", False)] and "2 of 3 volumes were done already" in capsys.readouterr().out
    work = Work()
    batch.run_jobs(
        jobs_in(tmp_path, "ab"), work, lambda job: {**made_from(job), "settings": {"window": job.name == "b"}}, True
    )
    assert work.asked == [("a", False), ("b", False)]
    work = Work()
    batch.run_jobs(jobs_in(tmp_path, "ab"), work, made_from)
    assert work.asked == [("a", False), ("b", False)]


def test_a_failed_volume_is_recorded_named_and_tried_again(tmp_path, capsys):
    work = Work(a=failing(UserError("a.nii: is cut")), c=failing(ZeroDivisionError("division by zero")))
    assert batch.run_jobs(jobs_in(tmp_path, "abcd"), work, made_from, resume=True) == 1
    assert [name for name, _ in work.asked] == list("abcd")
    err = capsys.readouterr().err.splitlines()
    assert err[-3:] == [
        "2 of 4 volumes failed:",
        f"  {tmp_path / 'a.nii'}: a.nii: is cut",
        f"  {tmp_path / 'c.nii'}: ZeroDivisionError: division by zero",
    ]
    records = manifests(tmp_path)
    assert {name: record["status"] for name, record in records.items()} == dict(zip("abcd", ["failed", "done"] * 2))
    assert records["a"]["reason"] == "a.nii: is cut" and records["a"]["traceback"] is None
    assert "in fail" in records["c"]["traceback"]
    assert records["a"]["made_from"] == {"inputs": {"image": "a"}, "settings": {}, "code": {}}
    assert results.last_failure(tmp_path / "results" / "a") == "a.nii: is cut"

    work = Work()
    assert batch.run_jobs(jobs_in(tmp_path, "abcd"), work, made_from, resume=True) == 0
    assert [name for name, _ in work.asked] == ["a", "c"]
    assert results.last_failure(tmp_path / "results" / "a") is None


def test_a_bug_shows_its_traceback_in_the_log(tmp_path, caplog):
    batch.run_jobs(jobs_in(tmp_path, "ab"), Work(a=failing(ZeroDivisionError("division by zero"))), made_from)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "a bug, the other volumes go on" in record.message and record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("error", [UserError("a.nii: is cut"), ZeroDivisionError("division by zero")])
def test_the_only_volume_fails_by_its_error_and_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error), match=str(error)):
        batch.run_jobs(jobs_in(tmp_path, "a"), Work(a=failing(error)), made_from)
    assert not any(tmp_path.iterdir())


def test_a_mistake_that_is_no_volumes_ends_the_run_at_once(tmp_path):
    def load(less_memory: bool) -> None:
        with batch.for_all_volumes():
            raise UserError("weights.pt: is cut")

    work = Work(a=load)
    with pytest.raises(UserError, match="weights.pt: is cut"):
        batch.run_jobs(jobs_in(tmp_path, "ab"), work, made_from)
    assert work.asked == [("a", False)] and not any(tmp_path.iterdir())


def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(tmp_path, capsys):
    work = Work(b=failing(DiskFullError("b: cannot be written: No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        batch.run_jobs(jobs_in(tmp_path, "abc"), work, made_from)
    assert [name for name, _ in work.asked] == ["a", "b"] and sorted(manifests(tmp_path)) == ["a"]
    assert "1 of 3 volumes finished and kept; the same command with --resume goes on" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_finished(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        batch.run_jobs(jobs_in(tmp_path, "abc"), Work(b=failing(KeyboardInterrupt())), made_from)
    assert sorted(manifests(tmp_path)) == ["a"] and not (tmp_path / "results" / "b").exists()
    assert "1 of 3 volumes finished and kept" in capsys.readouterr().err


def test_a_results_folder_that_cannot_be_written_is_its_volumes_failure(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a").write_text("a file")
    work = Work()
    assert batch.run_jobs(jobs_in(tmp_path, "ab"), work, made_from) == 1
    assert work.asked == [("b", False)]
    assert f"{tmp_path / 'results' / 'a'}: results cannot be written here: File exists" in capsys.readouterr().err


class TestWritingBesideTheNextVolume:
    @pytest.fixture
    def begun(self) -> threading.Event:
        """Set when volume b is being segmented."""
        return threading.Event()

    @pytest.fixture
    def work(self, begun: threading.Event) -> Work:
        """Writes volume a no earlier than volume b is being segmented."""
        work = Work(b=lambda less_memory: begun.set())
        work.writing["a"] = lambda: wait_for(begun)
        return work

    def test_what_is_printed_keeps_the_order(self, tmp_path, work, capsys):
        assert batch.run_jobs(jobs_in(tmp_path, "abc"), work, made_from, leaves_cpu_free=lambda: True) == 0
        assert work.written == list("abc")
        out = capsys.readouterr().out.splitlines()
        assert out == [f"{name}: results: {tmp_path / 'results' / name}" for name in "abc"]

    def test_a_third_volume_waits(self, tmp_path, work):
        seen = []
        work.does["c"] = lambda less_memory: seen.append(work.written[0])
        assert batch.run_jobs(jobs_in(tmp_path, "abc"), work, made_from, leaves_cpu_free=lambda: True) == 0
        assert seen == ["a"]

    def test_its_folder_stays_locked(self, tmp_path, begun):
        refused = threading.Event()

        def look(less_memory: bool) -> None:
            begun.set()
            with pytest.raises(FolderBusyError, match="is at work here"), folder_lock(tmp_path / "results" / "a"):
                pass
            refused.set()

        work = Work(b=look)
        work.writing["a"] = lambda: wait_for(refused)
        assert batch.run_jobs(jobs_in(tmp_path, "ab"), work, made_from, leaves_cpu_free=lambda: True) == 0
        with folder_lock(tmp_path / "results" / "a"):
            pass

    def test_failures_are_told_and_recorded_in_order(self, tmp_path, begun, capsys):
        def fail(less_memory: bool) -> None:
            begun.set()
            raise UserError("b.nii: is cut")

        def fail_writing() -> None:
            wait_for(begun)
            raise ZeroDivisionError("division by zero")

        work = Work(b=fail)
        work.writing["a"] = fail_writing
        assert batch.run_jobs(jobs_in(tmp_path, "abc"), work, made_from, leaves_cpu_free=lambda: True) == 1
        assert capsys.readouterr().err.splitlines()[-3:] == [
            "2 of 3 volumes failed:",
            f"  {tmp_path / 'a.nii'}: ZeroDivisionError: division by zero",
            f"  {tmp_path / 'b.nii'}: b.nii: is cut",
        ]
        records = manifests(tmp_path)
        assert [records[name]["status"] for name in "abc"] == ["failed", "failed", "done"]
        assert "in fail_writing" in records["a"]["traceback"]

    def test_a_full_disk_ends_the_run(self, tmp_path, begun, work, capsys):
        def fail_writing() -> None:
            wait_for(begun)
            raise DiskFullError("a: cannot be written: No space left on device")

        work.writing["a"] = fail_writing
        with pytest.raises(DiskFullError, match="No space left"):
            batch.run_jobs(jobs_in(tmp_path, "abc"), work, made_from, leaves_cpu_free=lambda: True)
        assert [name for name, _ in work.asked] == ["a", "b"] and manifests(tmp_path) == {}
        assert not any((tmp_path / "results").iterdir())
        assert "0 of 3 volumes finished and kept" in capsys.readouterr().err

    def test_what_is_being_written_at_ctrl_c_is_kept(self, tmp_path, begun, work, capsys):
        def stop(less_memory: bool) -> None:
            begun.set()
            raise KeyboardInterrupt

        work.does["b"] = stop
        with pytest.raises(KeyboardInterrupt):
            batch.run_jobs(jobs_in(tmp_path, "abc"), work, made_from, leaves_cpu_free=lambda: True)
        assert sorted(manifests(tmp_path)) == ["a"] and not (tmp_path / "results" / "b").exists()
        assert "1 of 3 volumes finished and kept" in capsys.readouterr().err

    @pytest.mark.parametrize("names, free", [("a", True), ("ab", False)])
    def test_the_only_volume_and_what_is_segmented_on_the_cpu_are_written_at_once(self, tmp_path, names, free):
        work, threads = Work(), []
        work.writing["a"] = lambda: threads.append(threading.current_thread())
        work.does["b"] = lambda less_memory: threads.append(work.written[0])
        assert batch.run_jobs(jobs_in(tmp_path, names), work, made_from, leaves_cpu_free=lambda: free) == 0
        assert threads == [threading.current_thread(), "a"][: len(names)]


def wait_for(event: threading.Event) -> None:
    assert event.wait(60)


class TestMemory:
    """Out of memory, made up: no device is needed to raise the error."""

    @pytest.fixture(params=["torch", "mps", "cpu"])
    def error(self, request) -> Exception:
        torch = pytest.importorskip("torch")
        return {
            "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand how to avoid it"),
            "mps": RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
            "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
        }[request.param]

    def test_once_more_with_less_memory(self, tmp_path, error, caplog):
        work = Work(a=failing(error, with_less_memory=False))
        assert batch.run_jobs(jobs_in(tmp_path, "ab"), work, made_from) == 0
        assert work.asked == [("a", False), ("a", True), ("b", False)]
        assert "once more with less memory" in caplog.text

    def test_then_it_is_the_volumes_failure(self, tmp_path, error, capsys):
        work = Work(a=failing(error))
        assert batch.run_jobs(jobs_in(tmp_path, "a"), work, made_from) == 1
        assert work.asked == [("a", False), ("a", True)]
        reason = manifests(tmp_path)["a"]["reason"]
        assert reason.startswith("out of memory: ") and "\n" not in reason and reason in capsys.readouterr().err

    def test_of_the_machine_is_not_tried_again(self, tmp_path):
        work = Work(a=failing(MemoryError("Unable to allocate 9 TiB")))
        assert batch.run_jobs(jobs_in(tmp_path, "a"), work, made_from) == 1
        assert work.asked == [("a", False)]
        assert manifests(tmp_path)["a"]["reason"] == "out of memory: Unable to allocate 9 TiB"

    def test_another_error_is_none_of_it(self):
        assert not batch.is_out_of_memory(RuntimeError("shapes differ"))
        assert not batch.is_out_of_memory(ValueError("out of memory"))


def test_a_volume_at_work_elsewhere_is_put_off_and_then_waited_for(tmp_path, caplog):
    caplog.set_level("INFO", "pose")
    jobs, work = jobs_in(tmp_path, "abc"), Work()
    lock = folder_lock(jobs[0].results_folder)
    lock.__enter__()
    work.does["c"] = lambda less_memory: lock.__exit__(None, None, None)
    assert batch.run_jobs(jobs, work, made_from) == 0
    assert [name for name, _ in work.asked] == list("bca") and "is at work here; put off" in caplog.text


def test_check_jobs(tmp_path, capsys):
    def describe(job: Job) -> str:
        if job.name == "b":
            raise UserError("b.nii: is cut")
        return "would be done"

    jobs = jobs_in(tmp_path, "abc")
    assert batch.check_jobs(jobs[::2], describe) == 0
    assert batch.check_jobs(jobs, describe) == 1
    seen = capsys.readouterr()
    assert seen.out.splitlines()[-2:] == ["a: would be done", "c: would be done"]
    assert seen.err.splitlines() == ["error: b.nii: is cut", "1 of 3 volumes would fail"]
    with pytest.raises(UserError, match="is cut"):
        batch.check_jobs(jobs[1:2], describe)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_process_cleanly(tmp_path, number, code, word):
    program = """
import sys, time
from pathlib import Path
from pose.runs import batch
from pose import cli
from tests.runs.test_batch import Work, jobs_in, made_from
def rest(less_memory):
    print("at work", flush=True)
    time.sleep(60)
sys.exit(cli.run_main(lambda argv: batch.run_jobs(jobs_in(Path(sys.argv[1]), "abc"), Work(b=rest), made_from)))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # a test run in the background of a shell has Ctrl-C switched off, and its children with it
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes, **heeding) as process:
        while "at work" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code and err.splitlines()[-1] == word and "Traceback" not in err
    assert "1 of 3 volumes finished and kept" in err
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["a"]
    assert not list(tmp_path.rglob(".*"))


def test_a_failure_of_the_only_volume_is_recorded_where_that_is_asked_for(tmp_path, capsys):
    broken = Work(a=failing(UserError("a.nii: is broken")))
    with pytest.raises(UserError, match="a.nii: is broken"):
        batch.run_jobs(jobs_in(tmp_path, "a"), broken, made_from)
    assert manifests(tmp_path) == {}
    assert batch.run_jobs(jobs_in(tmp_path, "a"), broken, made_from, record_failures=True) == cli.EXIT_VOLUME_FAILED
    [record] = manifests(tmp_path).values()
    assert (record["status"], record["reason"]) == ("failed", "a.nii: is broken")
    assert "1 of 1 volumes failed" in capsys.readouterr().err
    with pytest.raises(batch.CommandError):  # a mistake in the command is no volume's
        wrong = Work(a=failing(batch.CommandError("no such model")))
        batch.run_jobs(jobs_in(tmp_path, "a"), wrong, made_from, record_failures=True)


def test_run_main_leaves_other_threads_alone():
    """Signals belong to the main thread."""
    import threading

    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.run_main(lambda argv: 7)))
    thread.start()
    thread.join()
    assert codes == [7]
