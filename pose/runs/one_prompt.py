"""One prompt for a volume, or for a data set: the work of process_video.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pose.cli import UserError
from pose.prompts.markups import Mark
from pose.prompts.prompt import Prompt, PromptRules, prompt_slice
from pose.runs import batch, placing, resume, run, seed
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
from pose.runs.model import Model
from pose.runs.preview import write_preview
from pose.runs.segments_written import check_writable
from pose.runs.summary import Warned
from pose.scans.intensity import GreyStack
from pose.segmenters import loading


@dataclass
class OnePrompt:
    """Carries prompts on one slice or a few, or those of seeds, through volumes; see :class:`pose.runs.batch.Work`.

    Attributes:
        method: how; its model is loaded when the first volume needs it.
        shown, truth, rules: how scans are shown, and how prompts are taken from ground truth.
        settings: what is written.
        typed: a prompt from the command line.
        limits: the first and the last slice on which objects may lie.
        prompt_slice: where the prompt is taken from ground truth, as :func:`pose.prompts.prompt.prompt_slice` takes it.
        seeds: the seeds, if there are any.
        start_slice: with seeds and SAM 2's memory, the slice of each volume from which it is worked upwards and
            downwards; "auto" for the one that is paired with the seed's.
    """

    method: loading.MethodChoice
    shown: ShownAs
    truth: TruthRules
    rules: PromptRules
    settings: run.RunSettings
    typed: Prompt | Mark | None = None
    limits: tuple[int, int] | None = None
    prompt_slice: str | int = "centre"
    seeds: seed.SeedChoice = seed.SeedChoice()
    start_slice: int | str | None = None
    _loaded: dict[bool, tuple[Model, seed.Seeds | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # a mistake in them is no volume's
        self.seed_cases = seed.seed_cases(self.seeds)

    def made_from(self, job: Job) -> dict[str, Any]:
        """See :class:`pose.runs.batch.Work`."""
        model = self.method.model
        spec, weights = (None, None) if model is None else (model.spec, model.checkpoint)
        return resume.made_from(job, self.settings.arguments, spec, weights)

    def describe(self, job: Job) -> str:
        """See :class:`pose.runs.batch.Work`."""
        case, prompts = self.case_and_prompts(job)
        where = ", ".join(str(index) for index in sorted({prompt.slice for prompt in prompts}))
        what = "the seeds" if self.seeds else f"{len(prompts)} prompt(s) on slice {where}"
        how = self.method.name + (f" with {self.method.model.spec.name}" if self.method.model else "")
        would = f"would carry {what} through {len(case.grey)} slices by {how} and write to {job.results_folder}"
        return f"{would}; picture: {write_preview(case, prompts)}"

    def process(self, job: Job, made_from: dict[str, Any], less_memory: bool) -> batch.Finish:
        """See :class:`pose.runs.batch.Work`.

        SAM 2's memory can do with less of the device's memory; all else is left to the CPU.
        """
        case, prompts = self.case_and_prompts(job)
        has_memory = self.method.name == "sam2_memory"
        model, seeds = self.load(less_memory and not has_memory)
        if has_memory:
            model.segmenter.less_memory = less_memory
        about_seed: dict[str, Any] = {}
        warned: list[Warned] = []
        remembered: tuple[Any, ...] = ()
        if seeds is not None:
            about_seed = seeds.manifest_for(case.volume, self.seeds.memory)
            places = [one.place for one in seeds.memories if one.place is not None]
            if has_memory:
                start = self.start_slice
                about_seed["start_slice"] = placing.slice_like_seeds(case, places) if start == "auto" else start
                remembered = seeds.memories, about_seed["start_slice"]
            else:
                found = placing.find(model, case, places, self.shown.crop)
                prompts = [one.placed.prompt for one in found]
                about_seed["placed"] = [one.describe() for one in found]
                warned = [doubt for one in found if (doubt := one.doubt()) is not None]
        carried = model.carry(case.grey, prompts, self.shown.crop, *remembered)
        manifest = {**model.about, "crop": carried.crop.describe(), "made_from": made_from, "less_memory": less_memory}
        if about_seed:
            manifest["seed"] = about_seed
        return run.segment(
            case,
            carried.prompts,
            carried.predictions,
            range(len(case.grey)),
            self.settings,
            manifest,
            model.embeddings,
            warned,
            findings=lambda: model.findings,
            calibration=model.calibration,
        )

    def leaves_cpu_free(self) -> bool:
        """See :class:`pose.runs.batch.Work`."""
        return any(model.about.get("device", "cpu") != "cpu" for model, _ in self._loaded.values())

    def load(self, on_cpu: bool = False) -> tuple[Model, seed.Seeds | None]:
        """Load the model and the seeds, once for each place where the model runs."""
        if on_cpu not in self._loaded:
            with batch.for_all_volumes():
                model = Model(self.method.name, loading.load_volume_segmenter(self.method, on_cpu))
                placed = self.start_slice == "auto"
                seeds = seed.make_or_load(model, self.seed_cases, self.seeds, placed) if self.seeds else None
            self._loaded[on_cpu] = model, seeds
        return self._loaded[on_cpu]

    def case_and_prompts(self, job: Job) -> tuple[Case, list[Prompt]]:
        """Read a volume, and return the prompts for it: given by the user, or taken from one slice of the ground truth.

        Raises:
            UserError: files that cannot be read or do not fit each other, or no prompt.
        """
        case = load_case(job, self.shown, self.truth)
        check_writable(case, self.settings.write)
        last = len(case.grey) - 1
        if isinstance(self.start_slice, int) and self.start_slice > last:
            raise UserError(f"{job.image_path}: --start_slice {self.start_slice} is not among its slices 0 to {last}")
        if self.seeds:
            return case, []
        prompts = given_prompts(case, self.typed)
        grey: GreyStack | None = case.grey
        if prompts is None:
            slice_index = prompt_slice(case.required_truth(), self.prompt_slice, source=str(job.masks_path))
            prompts, grey = prompts_from_truth(case, slice_index, self.rules), None
        prompts = limited(prompts, self.limits, last + 1, job.image_path)
        return case, usable_prompts(prompts, self.method.prompt_kinds, self.method.title, grey)
