"""From a choice of method, model and device to a segmenter that is ready, and what a run manifest says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pose import segmenters
from pose.cli import UserError
from pose.segmenters import SliceSegmenter, VolumeSegmenter, models
from pose.segmenters.auto import Auto
from pose.segmenters.chain import Chain
from pose.segmenters.chain_settings import ChainSettings
from pose.segmenters.kept_predictions import KeptPredictions
from pose.segmenters.region_growing import RegionGrowing, RegionGrowingSettings

if TYPE_CHECKING:
    from pose.segmenters.embeddings import EmbeddingsCache

# methods that carry masks from slice to slice, without a memory of the prompted one
CHAINED = ("auto", "chain")

S = TypeVar("S", SliceSegmenter, VolumeSegmenter)


@dataclass(frozen=True)
class ModelChoice:
    """A network, its weights, and where it runs.

    Attributes:
        spec: the model.
        checkpoint: its weights.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "fp32" or "bf16".
        embeddings_cache: the folder where encoded slices are kept between runs; None for none.
        embeddings_cache_gb: how large that folder may become.
    """

    spec: models.ModelSpec
    checkpoint: Path
    device: str = "auto"
    precision: str = "auto"
    embeddings_cache: Path | None = None
    embeddings_cache_gb: float = 20.0


@dataclass(frozen=True)
class MethodChoice:
    """How one prompt is carried through a volume.

    Attributes:
        name: "sam2_memory", "auto", "chain" or "region_growing".
        model: None for region growing, which has no network.
        chain, growing: how these two decide.
        max_memories, stop_after: what SAM 2's memory does without, see :class:`pose.segmenters.sam2.memory.Sam2Memory`.
        cuda_graph: replay what SAM 2's memory does on a slice, see :mod:`pose.segmenters.sam2.recorded`.
        keep_predictions: a chain asks its network nothing that it has asked before, of any volume.
    """

    name: str
    model: ModelChoice | None
    chain: ChainSettings = ChainSettings()
    growing: RegionGrowingSettings = RegionGrowingSettings()
    max_memories: int | None = None
    stop_after: int | None = None
    cuda_graph: bool = False
    keep_predictions: bool = False

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """What it takes of "points", "box" and "mask", as far as the model's family tells before it is loaded."""
        kinds = frozenset({"points", "box", "mask"})
        return (
            kinds if self.model is None else kinds_of(self.model.spec) | ({"mask"} if self.name in CHAINED else set())
        )

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return self.name if self.model is None else self.model.spec.name


@dataclass
class Loaded(Generic[S]):
    """A segmenter that is ready.

    Attributes:
        segmenter: of slices or of volumes.
        about: what a run manifest says of model, weights, device and precision.
        embeddings: the cache of encoded slices that it uses, or None.
        predictions: those that it keeps, or None.
    """

    segmenter: S
    about: dict[str, Any] = field(default_factory=dict)
    embeddings: EmbeddingsCache | None = None
    predictions: KeptPredictions | None = None


def kinds_of(spec: models.ModelSpec) -> frozenset[str]:
    """Return what a model takes of "points", "box" and "mask" on a slice; LiteMedSAM was trained on boxes alone."""
    return frozenset({"box"} if spec.family == "lite_medsam" else {"points", "box", "mask"})


def choose_model(
    name: str | None,
    sam_version: int | None = None,
    checkpoint_file_path: Path | None = None,
    image_size: int | None = None,
    **where: Any,
) -> ModelChoice:
    """Return the model called ``name``, or the default of ``sam_version``, with weights that are there.

    Args:
        name: as ``--model`` takes it.
        sam_version: 1 or 2.
        checkpoint_file_path: weights; None for the model's own file.
        image_size: pixels a side for SAM 2; None for the model's own.
        where: further fields of :class:`ModelChoice`.

    Raises:
        UserError: no such model, size or file.
    """
    spec = models.at_image_size(models.find_model(name, sam_version), image_size)
    return ModelChoice(spec, models.checkpoint_path(spec, checkpoint_file_path), **where)


def choose_method(name: str | None, family: str) -> str:
    """Return the method for a model of ``family``: ``name``, or the memory for SAM 2 models and auto for others.

    Raises:
        ValueError: ``name`` is the memory, and the model has none.
    """
    if name == "sam2_memory" and family != "sam2":
        raise ValueError("has no video memory; choose a SAM 2 model, or --method chain")
    return name or ("sam2_memory" if family == "sam2" else "auto")


def load_slice_segmenter(choice: ModelChoice, on_cpu: bool = False) -> Loaded[SliceSegmenter]:
    """Load a model that segments slices; ``on_cpu`` overrides its device.

    Raises:
        UserError: weights that are damaged or of another model, a device that is not there.
    """
    return _loaded(choice, on_cpu, segmenters.build_slice_segmenter)


def load_volume_segmenter(choice: MethodChoice, on_cpu: bool = False) -> Loaded[VolumeSegmenter]:
    """Load what carries prompts through volumes; ``on_cpu`` overrides the model's device.

    Raises:
        UserError: as :func:`load_slice_segmenter`.
    """
    if choice.model is None:
        return Loaded(RegionGrowing(choice.growing), {"method": choice.name})
    if choice.name in CHAINED:
        slices = load_slice_segmenter(choice.model, on_cpu)
        kept = KeptPredictions(slices.segmenter) if choice.keep_predictions else None
        chain = Chain(kept or slices.segmenter, choice.chain)
        carrier = Auto(chain, RegionGrowing(choice.growing)) if choice.name == "auto" else chain
        return Loaded(carrier, {"method": choice.name, **slices.about}, slices.embeddings, kept)

    from pose.segmenters.sam2.memory import Sam2Memory
    from pose.segmenters.sam2.recorded import Recorded

    def build(spec: models.ModelSpec, checkpoint: Path, device: Any, precision: str, embeddings: Any) -> Sam2Memory:
        if choice.cuda_graph and device.type != "cuda" and not on_cpu:
            raise UserError(f"--cuda_graph: the device is {device}; it needs a GPU with CUDA, so leave it out")
        return Sam2Memory(
            spec,
            checkpoint,
            device,
            precision,
            max_memories=choice.max_memories,
            stop_after=choice.stop_after,
            embeddings=embeddings,
            recorded=Recorded() if choice.cuda_graph else None,
        )

    loaded = _loaded(choice.model, on_cpu, build)
    return replace(loaded, about={"method": choice.name, **loaded.about})


def _loaded(choice: ModelChoice, on_cpu: bool, build: Callable[..., Any]) -> Loaded[Any]:
    from pose.segmenters.embeddings import EmbeddingsCache

    device = models.choose_device("cpu" if on_cpu else choice.device)
    precision = models.choose_precision(choice.precision, device)
    models.compute_in_whole_float32(precision, device)
    embeddings = None
    if choice.embeddings_cache is not None:
        embeddings = EmbeddingsCache(choice.embeddings_cache, limit_bytes=round(choice.embeddings_cache_gb * 1e9))
    segmenter = build(choice.spec, choice.checkpoint, device, precision, embeddings)
    about = models.describe(choice.spec, choice.checkpoint, segmenter.checkpoint_sha256, device, precision)
    return Loaded(segmenter, about, embeddings)
