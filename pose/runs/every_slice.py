"""A prompt on every slice: the work of process_image.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pose.cli import UserError
from pose.prompts.markups import Mark
from pose.prompts.prompt import Prompt, PromptRules, prompt_slice
from pose.runs import batch, resume, run
from pose.runs.case import (
    Case,
    Job,
    ShownAs,
    TruthRules,
    given_prompts,
    limited,
    load_case,
    prompts_from_truth,
    usable_prompts,
)
from pose.runs.crop import crop_volume
from pose.runs.preview import write_preview
from pose.runs.segments_written import check_writable
from pose.scans.intensity import GreyStack
from pose.segmenters import SliceSegmenter, loading, segment_slices


@dataclass
class EverySlice:
    """Segments each slice from prompts of its own; see :class:`pose.runs.batch.Work`.

    Attributes:
        model: the network; it is loaded when the first volume needs it.
        shown, truth, rules: how scans are shown, and how prompts are taken from ground truth.
        settings: what is written.
        typed: a prompt from the command line.
        limits: the first and the last slice on which objects may lie.
        slice_index: the slice to work on alone; None for all.
        multimask_output: take the best of three masks.
        repeat: segment each slice so often to measure times; None for once.
    """

    model: loading.ModelChoice
    shown: ShownAs
    truth: TruthRules
    rules: PromptRules
    settings: run.RunSettings
    typed: Prompt | Mark | None = None
    limits: tuple[int, int] | None = None
    slice_index: int | None = None
    multimask_output: bool = False
    repeat: int | None = None
    _loaded: dict[bool, loading.Loaded[SliceSegmenter]] = field(default_factory=dict)
    _warm: set[bool] = field(default_factory=set)

    def made_from(self, job: Job) -> dict[str, Any]:
        """See :class:`pose.runs.batch.Work`."""
        return resume.made_from(job, self.settings.arguments, self.model.spec, self.model.checkpoint)

    def describe(self, job: Job) -> str:
        """See :class:`pose.runs.batch.Work`."""
        case = load_case(job, self.shown, self.truth)
        prompts = self.prompts(case)
        prompted = {prompt.slice for prompt in prompts}
        where = f"{len(prompted)} of {len(case.grey)} slices"
        would = f"would prompt {self.model.spec.name} on {where} and write to {job.results_folder}"
        return f"{would}; picture: {write_preview(case, prompts)}"

    def process(self, job: Job, made_from: dict[str, Any], less_memory: bool) -> batch.Finish:
        """See :class:`pose.runs.batch.Work`; what needs less memory runs on the CPU."""
        case = load_case(job, self.shown, self.truth)
        prompts = self.prompts(case)
        slices = range(len(case.grey)) if self.slice_index is None else [self.slice_index]
        loaded = self.load(less_memory)
        prompts = usable_prompts(prompts, loaded.segmenter.prompt_kinds, self.model.spec.name)
        crop = crop_volume(self.shown.crop, case.grey, prompts)
        predictions = segment_slices(
            loaded.segmenter, crop.grey, crop.prompts(prompts), slices, self.multimask_output, self.repeat
        )
        manifest = {**loaded.about, "crop": crop.describe(), "made_from": made_from, "less_memory": less_memory}
        manifest["timing"] = describe_timing(self.repeat, first_of_process=less_memory not in self._warm)
        self._warm.add(less_memory)
        found = map(crop.restore, predictions)
        return run.segment(case, prompts, found, slices, self.settings, manifest, loaded.embeddings)

    def leaves_cpu_free(self) -> bool:
        """See :class:`pose.runs.batch.Work`."""
        return any(loaded.about["device"] != "cpu" for loaded in self._loaded.values())

    def load(self, on_cpu: bool) -> loading.Loaded[SliceSegmenter]:
        """Load the model, once for each place where it runs."""
        if on_cpu not in self._loaded:
            with batch.for_all_volumes():
                self._loaded[on_cpu] = loading.load_slice_segmenter(self.model, on_cpu)
        return self._loaded[on_cpu]

    def prompts(self, case: Case) -> list[Prompt]:
        """Return the prompts of every slice, given by the user or taken from the ground truth.

        Raises:
            UserError: the slice to work on is none of the volume's, or has no prompt.
        """
        check_writable(case, self.settings.write)
        chosen, last = self.slice_index, len(case.grey) - 1
        if chosen is not None and chosen > last:
            raise UserError(f"{case.job.image_path}: --slice {chosen} is not among its slices 0 to {last}")
        prompts = given_prompts(case, self.typed)
        grey: GreyStack | None = case.grey
        if prompts is None:
            grey = None
            # or says what is not there to prompt on
            prompt_slice(case.required_truth(), "centre" if chosen is None else chosen, source=str(case.job.masks_path))
            prompts = [
                prompt
                for slice_index in case.masked_slices
                for prompt in prompts_from_truth(case, slice_index, self.rules)
            ]
        if self.limits is not None:
            first, last_wanted = self.limits
            prompts = [prompt for prompt in prompts if first <= prompt.slice <= last_wanted]
            if not prompts:
                raise UserError(f"{case.job.image_path}: --slices {first} {last_wanted}: no prompt lies on them")
        prompts = limited(prompts, self.limits, last + 1, case.job.image_path)
        prompts = usable_prompts(prompts, loading.kinds_of(self.model.spec), self.model.spec.name, grey)
        here = [prompt for prompt in prompts if chosen in (None, prompt.slice)]
        if not here:
            nearest = min(
                {prompt.slice for prompt in prompts},
                key=lambda slice_index: (abs(slice_index - (chosen or 0)), slice_index),
            )
            given = f"{case.job.prompts_path}: --slice {chosen} has no prompt"
            raise UserError(f"{given}, the nearest one with a prompt is {nearest}")
        return here


def describe_timing(repeat: int | None, first_of_process: bool) -> dict[str, Any]:
    """Return what a run manifest says of how times were taken, and of the warm-up in them.

    Args:
        repeat: how often each slice was segmented and counted; None for once, without a warm-up.
        first_of_process: whether the model had not segmented anything before this volume.
    """
    if repeat is not None:
        warm_up = "each slice was segmented once before, which is not counted in raw_data and is repetition 0 in times"
    elif first_of_process:
        warm_up = "the first slice segmented is the model's first of this process, and is counted in raw_data"
    else:
        warm_up = "none needed: other volumes were segmented before in this process"
    return {"repeat": repeat, "first_of_process": first_of_process, "warm_up": warm_up}
