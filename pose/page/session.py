"""A session: one scan, what is clicked on it, the masks that come of it, how they are saved. It knows no browser."""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from pose.cli import UserError
from pose.files.atomic import remove_leftovers
from pose.files.locks import FolderBusyError, folder_lock
from pose.page.carrying import CarriedMasks, Task, begin
from pose.page.clicks import Clicks
from pose.page.overlaps import Overlaps
from pose.prompts.prompt import Prompt
from pose.prompts.reach import is_pointing, without_parts
from pose.results import read_manifest
from pose.runs import run
from pose.runs.case import Job, given_prompts, limited, load_case, usable_prompts
from pose.runs.crop import crop_volume
from pose.runs.one_prompt import OnePrompt
from pose.runs.segmentation import label_map
from pose.runs.summary import FoundObject
from pose.segmenters import SlicePredictions
from pose.segmenters.one_slice import segment_one_slice

LOGGER = logging.getLogger(__name__)

LAST_OBJECT = 99
LONGEST_NAME = 60


class BusyError(Exception):
    """Prompts are being carried: until that ends, or is cancelled, nothing else can be changed."""


class Session:
    """One scan with its model; all that the page asks for. Every method may be called from any thread.

    Attributes:
        case: the scan, its ground truth if there is any, and its slices as the model sees them.
        clicks: the prompts.
        names: what objects are called, by number.
        carried: the masks carried last; None before.
        running: those that are being carried; None while none are.
        ended: the kinds of the tasks that have ended, in their order.
    """

    def __init__(self, work: OnePrompt, job: Job, command: Sequence[str], prompts_path: Path | None = None):
        """Read the scan and load the model.

        Args:
            work: what process_video.py would do, without a prompt.
            job: the files.
            command: process_video.py and the words that make it do the same, but for the prompts.
            prompts_path: prompts to begin with.

        Raises:
            UserError: files that cannot be read or do not fit each other, or no such model.
        """
        self._work, self._command = work, list(command)
        self.case = load_case(job, work.shown, work.truth)
        self.clicks = Clicks(self.case.volume.voxels.shape)
        if prompts_path is not None:
            self.clicks.prompts = (
                given_prompts(replace(self.case, job=replace(job, prompts_path=prompts_path)), None) or []
            )
        limited([], work.limits, len(self.case.grey), job.image_path)
        self.names: dict[int, str] = {one.object_id: "" for one in self.clicks.prompts} or {1: ""}
        self.model, _ = work.load()
        self.carried: CarriedMasks | None = None
        self.running: CarriedMasks | None = None
        self.task: Task | None = None
        self.ended: list[str] = []
        self.message = ""
        self.saved: dict[str, Any] | None = None
        self.changes = 0
        self._live: dict[int, np.ndarray] = {}
        self._overlaps = Overlaps(self.case)
        self._saved_prompts: list[Prompt] | None = None
        self._lock = threading.RLock()
        # all that asks the model, one after the other: it holds one slice at a time
        self._worker = ThreadPoolExecutor(1)
        for slice_index in sorted({one.slice for one in self.clicks.prompts}):
            self._redraw(slice_index)

    # clicks

    def point(self, object_id: int, slice_index: int, row: int, column: int, inside: bool) -> float:
        """Add a point and segment its slice; return the seconds that took.

        Raises:
            UserError: a place outside the scan.
            BusyError: prompts are being carried.
        """
        return self._change(
            slice_index, lambda: self.clicks.add_point(self._numbered(object_id), slice_index, (row, column), inside)
        )

    def box(self, object_id: int, slice_index: int, box: tuple[int, int, int, int], further: bool = False) -> float:
        """Set or add a box and segment its slice; see :meth:`point`."""
        return self._change(
            slice_index, lambda: self.clicks.add_box(self._numbered(object_id), slice_index, box, further)
        )

    def absent(self, object_id: int, slice_index: int, absent: bool) -> float:
        """Say that the object is not on a slice nor beyond it, or take it back; see :meth:`point`."""
        return self._change(slice_index, lambda: self.clicks.set_absent(self._numbered(object_id), slice_index, absent))

    def clear(self, object_id: int, slice_index: int) -> float:
        """Remove what was said of an object on a slice; see :meth:`point`."""
        return self._change(slice_index, lambda: self.clicks.clear(self._numbered(object_id), slice_index))

    def undo(self) -> float:
        """Take the last click back; see :meth:`point`."""
        with self._lock:
            self._refuse_while_busy()
            concerned = self.clicks.undo()
        return sum(self._change(slice_index, lambda: None) for slice_index in concerned)

    def name_object(self, object_id: int, name: str) -> None:
        """Add an object, or give it another name.

        Raises:
            UserError: a number or a name that is none.
            BusyError: prompts are being carried.
        """
        self._numbered(object_id)
        if len(name) > LONGEST_NAME or not (name.isprintable()):
            raise UserError(f"object {object_id}: a name has at most {LONGEST_NAME} letters, on one line")
        with self._lock:
            self._refuse_while_busy()
            self.names = dict(sorted({**self.names, object_id: name.strip()}.items()))
            self.changes += 1

    def remove_object(self, object_id: int) -> None:
        """Remove an object and all that was said of it; the last one stays, without prompts."""
        with self._lock:
            self._refuse_while_busy()
            concerned = [one.slice for one in self.clicks.prompts if one.object_id == object_id]
            self.clicks.remove_object(object_id)
            self.names.pop(object_id, None)
            self.names = self.names or {1: ""}
            self.changes += 1
        for slice_index in sorted(set(concerned)):
            self._change(slice_index, lambda: None)

    def _change(self, slice_index: int, edit: Any) -> float:
        with self._lock:
            self._refuse_while_busy()
            edit()
            for one in self.clicks.prompts:
                self.names.setdefault(one.object_id, "")
            self.names = dict(sorted(self.names.items()))
            self.message = ""
        return self._worker.submit(self._redraw, slice_index).result()

    def _numbered(self, object_id: int) -> int:
        if object_id not in self.names and not 1 <= object_id <= LAST_OBJECT:
            raise UserError(f"object {object_id}: objects on the page have the numbers 1 to {LAST_OBJECT}")
        return object_id

    def _refuse_while_busy(self) -> None:
        if self.task is not None:
            raise BusyError("the prompts are being carried; wait, or cancel it first")

    def _redraw(self, slice_index: int) -> float:
        """Make the masks of a slice from what is clicked on it now; return the seconds."""
        began = perf_counter()
        here = self.clicks.at(slice_index)
        if self.carried is not None and here == [one for one in self.carried.clicked if one.slice == slice_index]:
            self._live.pop(slice_index, None)
        else:
            labels = self._carried_labels(slice_index)
            for one in here:
                if one.absent:
                    labels[labels == one.object_id] = 0
                elif not is_pointing(one) and not any(is_pointing(two) for two in self._of_object(here, one)):
                    mask = labels == one.object_id
                    labels[mask & ~without_parts(mask, one.negative_points)] = 0
            if pointing := [one for one in here if is_pointing(one)]:
                try:
                    found = self._found_on_slice(pointing)
                except UserError as error:
                    self.message = str(error)
                else:
                    labels[np.isin(labels, list(found.objects))] = 0
                    fresh = label_map(found.objects, labels.shape)
                    labels[fresh > 0] = fresh[fresh > 0]
            self._live[slice_index] = labels
        with self._lock:
            self._overlaps.forget(slice_index)
            self.changes += 1
        return perf_counter() - began

    def _found_on_slice(self, prompts: Sequence[Prompt]) -> SlicePredictions:
        grey, segmenter = self.case.grey, self.model.segmenter
        used = usable_prompts(prompts, segmenter.prompt_kinds, segmenter.name, grey)
        crop = crop_volume(self._work.shown.crop, grey, used)
        return crop.restore(segment_one_slice(segmenter, crop.grey, crop.prompts(used)))

    @staticmethod
    def _of_object(prompts: Sequence[Prompt], like: Prompt) -> list[Prompt]:
        return [one for one in prompts if one.object_id == like.object_id]

    # what takes longer

    def carry(self) -> None:
        """Begin to carry the prompts through the volume; :attr:`task` tells how far it is.

        Raises:
            UserError: prompts that say too little.
            BusyError: they are being carried already.
        """
        self._begin("carry")

    def save(self) -> None:
        """Begin to write the results, as process_video.py does; what is not carried yet is carried before.

        Raises:
            UserError, BusyError: as :meth:`carry`.
        """
        self._begin("save")

    def cancel(self) -> None:
        """Ask what is under way to end; masks stay as they were before it."""
        with self._lock:
            if self.task is not None:
                self.task.cancelled.set()
                self.changes += 1

    def wait(self) -> None:
        """Wait until nothing is under way."""
        self._worker.submit(lambda: None).result()

    def close(self) -> None:
        """End what is under way."""
        self.cancel()
        self._worker.shutdown(cancel_futures=True)

    @property
    def is_carried(self) -> bool:
        """Whether the masks are those of the prompts as they are now."""
        return self.carried is not None and self.carried.clicked == self.clicks.prompts

    @property
    def is_saved(self) -> bool:
        """Whether the results that were written last are those of the prompts as they are now."""
        return self._saved_prompts == self.clicks.prompts

    def _begin(self, kind: str) -> None:
        with self._lock:
            self._refuse_while_busy()
            prompts = self.clicks.to_carry(self.case.job.name)
            prompts = limited(prompts, self._work.limits, len(self.case.grey), self.case.job.image_path)
            self.task, self.message = Task(kind), ""
            self.changes += 1
        self._worker.submit(self._perform, self.task, prompts).add_done_callback(_tell_of_faults)

    def _perform(self, task: Task, prompts: list[Prompt]) -> None:
        try:
            if task.kind == "carry" or not self.is_carried:
                self._carry(task, prompts)
            if task.kind == "save" and not task.cancelled.is_set():
                self._save()
        except (UserError, FolderBusyError) as error:
            self.message = str(error)
        except Exception as error:
            self.message = f"a fault of the program, its terminal says more: {type(error).__name__}: {error}"
            raise
        finally:
            with self._lock:
                if task.cancelled.is_set() and not self.message:
                    self.message = "cancelled: the masks are those of before"
                self.task = self.running = None
                self.ended.append(task.kind)
                self._overlaps.forget()
                self.changes += 1

    def _carry(self, task: Task, prompts: list[Prompt]) -> None:
        began = perf_counter()
        running, predictions = begin(self.case, self.model, self._work, self.clicks.prompts, prompts)
        with self._lock:
            self.running = running
        for one in predictions:
            with self._lock:
                if task.cancelled.is_set():
                    return
                running.add(one)
                task.done.append(one.slice)
                self._overlaps.forget(one.slice)
                self.changes += 1
        running.found.findings = dict(self.model.findings)
        running.seconds = perf_counter() - began
        with self._lock:
            self.carried = running
            self._live.clear()

    def _save(self) -> None:
        carried = self.carried
        if carried is None:
            raise RuntimeError("saved before anything was carried")
        folder = self.case.job.results_folder
        named = {str(key): name for key, name in self.names.items() if name}
        manifest = {
            **self.model.about,
            "crop": carried.crop.describe(),
            "made_from": self._work.made_from(self.case.job),
            "less_memory": False,
            **({"object_names": named} if named else {}),
        }
        slices = range(len(self.case.grey))
        with folder_lock(folder):
            remove_leftovers(folder)
            written = run.segment(
                self.case,
                carried.asked,
                iter(carried.slices),
                slices,
                self._work.settings,
                manifest,
                findings=lambda: carried.found.findings,
                calibration=self.model.calibration,
            )()
        files = written.files
        summary = read_manifest(files["run"])["summary"]
        with self._lock:
            self.saved = {
                "folder": str(folder),
                "files": [path.name for path in files.values()],
                "contact_sheet": files["contact_sheet"],
                "command": self.command(files["sam_prompts"]),
                "words": [self._words_of(FoundObject.from_json(one)) for one in summary["objects"]],
                "warnings": [one["text"] for one in summary["warnings"]],
            }
            self._saved_prompts = carried.clicked
        print(f"saved: {folder}\nthe same by: {self.saved['command']}")

    def _words_of(self, found: FoundObject) -> str:
        name = self.names.get(found.object_id)
        return f"{name}: {found}" if name else str(found)

    def command(self, prompts_path: Path) -> str:
        """Return the command line that makes the same masks of the prompts in a file."""
        return shlex.join(["python", *self._command, "--prompt_file_path", str(prompts_path)])

    # what is to be seen

    def labels(self, slice_index: int) -> np.ndarray:
        """Return the masks of a slice as they are now: carried, or made of what is clicked on it.

        Returns:
            (rows, columns) uint16, the number of the object, 0 elsewhere.
        """
        with self._lock:
            running = self.running
            if running is not None and self.task is not None and slice_index in self.task.done:
                return running.found.labels[:, :, slice_index].astype(np.uint16)
            if slice_index in self._live:
                return self._live[slice_index]
            return self._carried_labels(slice_index)

    def _carried_labels(self, slice_index: int) -> np.ndarray:
        if self.carried is None:
            return np.zeros(self.clicks.shape[:2], np.uint16)
        labels = self.carried.found.labels[:, :, slice_index].astype(np.uint16)
        labels[~np.isin(labels, list(self.names))] = 0
        return labels

    def dice(self, slice_index: int) -> float | None:
        """Return the Dice of all objects on a slice, as raw_data has it; None where it has none."""
        with self._lock:
            return self._overlaps.dice([slice_index], self.labels)

    def volume_dice(self) -> float | None:
        """Return the Dice of the volume as it is now; None without ground truth, and before anything was carried."""
        if self.carried is None:
            return None
        with self._lock:
            return self._overlaps.dice(range(self.clicks.shape[2]), self.labels)


def _tell_of_faults(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        LOGGER.error("a fault of the program", exc_info=error)
