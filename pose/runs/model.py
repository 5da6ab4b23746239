"""A model that is loaded once and carries prompts through many scans: for notebooks, and what the scripts use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose.cli import UserError
from pose.prompts.prompt import Prompt, check_prompts
from pose.runs.case import usable_prompts
from pose.runs.crop import Crop, crop_volume
from pose.runs.segmentation import Segmentation
from pose.scans.intensity import GreySlices, GreyStack, Intensity, window_of_words
from pose.scans.volume import Volume, read_volume
from pose.scores.likely_dice import CALIBRATIONS, Calibration
from pose.scores.review import REVIEW_BELOW
from pose.segmenters import Finding, SlicePredictions, VolumeSegmenter, loading

Window = str | tuple[float, float] | None


@dataclass(frozen=True)
class Carried:
    """Prompts on their way through a volume.

    Attributes:
        prompts: what the model was asked, of what it was given.
        crop: what of the slices it sees.
        predictions: slices as they come, in the frame of the volume.
    """

    prompts: list[Prompt]
    crop: Crop
    predictions: Iterator[SlicePredictions]


class Model:
    """Carries prompts through volumes; made by :func:`load_model`.

    Attributes:
        method: "sam2_memory", "auto", "chain" or "region_growing".
        about: what a run manifest says of model, weights, device and precision.
        predictions: those of its network that it keeps; None where it keeps none.
    """

    def __init__(self, method: str, loaded: loading.Loaded[VolumeSegmenter]):
        self.method = method
        self.about = loaded.about
        self.embeddings = loaded.embeddings
        self.predictions = loaded.predictions
        self.segmenter: Any = loaded.segmenter

    @property
    def findings(self) -> Mapping[int, Finding]:
        """What was learnt of each object of the volume segmented last, beside its masks; none where nothing is."""
        return getattr(self.segmenter, "findings", {})

    @property
    def calibration(self) -> Calibration | None:
        """What makes a likely Dice of what it says of its results; None where nobody calibrated that."""
        return CALIBRATIONS.get(self.about.get("family", "")) if self.method in loading.CHAINED else None

    def carry(self, grey: GreyStack, prompts: Sequence[Prompt], crop: str = "none", *seeds: Any) -> Carried:
        """Start to carry ``prompts`` through the slices of a volume, or what ``seeds`` hold.

        Raises:
            UserError: a prompt of a kind that the model does not take.
        """
        if self.predictions is not None:
            self.predictions.begin()
        used = usable_prompts(prompts, self.segmenter.prompt_kinds, self.segmenter.name, grey)
        seen = crop_volume(crop, grey, used)
        predictions = self.segmenter.segment(seen.grey, seen.prompts(used), *seeds)
        return Carried(used, seen, map(seen.restore, predictions))

    def slices(
        self, scan: Volume, prompts: Prompt | Sequence[Prompt], *, window: Window = None, crop: str = "none"
    ) -> Iterator[SlicePredictions]:
        """Yield the objects of each slice as they come: the prompted slices first, then those above and below.

        Args:
            scan, prompts, window, crop: as :meth:`segment`.

        Raises:
            UserError: as :meth:`segment`.
        """
        yield from self._carry(scan, prompts, window, crop)[1].predictions

    def segment(
        self,
        scan: Volume,
        prompts: Prompt | Sequence[Prompt],
        *,
        window: Window = None,
        crop: str = "none",
        review_below: float = REVIEW_BELOW,
    ) -> Segmentation:
        """Carry prompts on one slice or a few through a scan.

        Args:
            scan: the scan.
            prompts: one, or several of one object or more.
            window: a CT window by name or (level, width) in HU; None for percentiles 0.5 to 99.5.
            crop: "body" shows the model the box round the body alone, "none" the whole frame.
            review_below: a slice with a lower score is to be reviewed.

        Raises:
            UserError: no such window, a prompt outside the scan or of a kind that the model does not take.
        """
        grey, carried = self._carry(scan, prompts, window, crop)
        chained = self.method in loading.CHAINED
        found = Segmentation(scan, grey, carried.prompts, chained, review_below, self.calibration)
        for here in carried.predictions:
            found.add(here)
        found.findings = dict(self.findings)
        return found

    def _carry(
        self, scan: Volume, prompts: Prompt | Sequence[Prompt], window: Window, crop: str
    ) -> tuple[GreySlices, Carried]:
        given = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        if not given:
            raise UserError(f"{scan.grid.name}: no prompt")
        check_prompts(given, scan.voxels.shape, scan.grid.name)
        limits = window_of_words([window]) if isinstance(window, str) else window
        grey = GreySlices(scan, Intensity(limits))
        return grey, self.carry(grey, given, crop)


def load_model(
    model: str | None = "lite_medsam",
    *,
    method: str | None = None,
    checkpoint_file_path: Path | str | None = None,
    image_size: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    embeddings_cache: Path | str | None = None,
    **settings: Any,
) -> Model:
    """Load a model, to be kept and used on many scans.

    Args:
        model: as ``--model`` takes it; None or anything with the method "region_growing", which has none.
        method: "sam2_memory", "auto", "chain" or "region_growing"; None for the memory with SAM 2 models, and auto.
        checkpoint_file_path: weights; None for the model's own file.
        image_size: pixels a side for SAM 2; None for the model's own.
        device, precision: where and how it computes, as ``--device`` and ``--precision`` take them.
        embeddings_cache: a folder where encoded slices are kept between runs; None for none.
        settings: further fields of :class:`pose.segmenters.loading.MethodChoice`.

    Raises:
        UserError: no such model, method, file or device.
    """
    if method == "region_growing":
        choice = loading.MethodChoice(method, None, **settings)
    else:
        path = None if checkpoint_file_path is None else Path(checkpoint_file_path)
        cache = None if embeddings_cache is None else Path(embeddings_cache)
        where = {"device": device, "precision": precision, "embeddings_cache": cache}
        network = loading.choose_model(model, None, path, image_size, **where)
        try:
            method = loading.choose_method(method, network.spec.family)
        except ValueError as error:
            raise UserError(f"method {method}: {network.spec.name} {error}") from None
        choice = loading.MethodChoice(method, network, **settings)
    return Model(choice.name, loading.load_volume_segmenter(choice))


def segment(
    scan: Volume,
    prompts: Prompt | Sequence[Prompt],
    *,
    model: str | Model = "lite_medsam",
    window: Window = None,
    crop: str = "none",
    review_below: float = REVIEW_BELOW,
    **how: Any,
) -> Segmentation:
    """Segment a scan from prompts on one slice or a few.

    Args:
        scan, prompts, window, crop, review_below: as :meth:`Model.segment`.
        model: a name, or what :func:`load_model` returned.
        how: further arguments of :func:`load_model`.

    Raises:
        UserError: as :func:`load_model` and :meth:`Model.segment`.
    """
    loaded = model if isinstance(model, Model) else load_model(model, **how)
    return loaded.segment(scan, prompts, window=window, crop=crop, review_below=review_below)


def read_scan(
    path: Path | str | Sequence[Path | str],
    swap_axes: bool | None = None,
    slice_axis: int | None = None,
    *,
    series: str | None = None,
    suv: bool = False,
) -> Volume:
    """Read a scan: NIfTI, working data (.npz, .npy), DICOM, NRRD, MetaImage or PNG.

    Args:
        path: the file; of DICOM also a folder, a .zip, or the files of a series.
        swap_axes: swap the axes of the slices of NIfTI files; None where rows then come first.
        slice_axis: the axis along which the slices lie; None finds it by spacing and orientation.
        series: of DICOM with several series, the SeriesNumber or SeriesInstanceUID; None for the only volume.
        suv: make standardised uptake values (body weight) of a DICOM PET.

    Raises:
        UserError: as :func:`pose.scans.volume.read_volume`.
    """
    return read_volume(path, swap_axes, slice_axis, series, suv)
