"""POSE, Prompt Once, Segment Everything: segment a whole volume from a prompt on one slice.

    scan = pose.read_scan("ct.nii.gz")
    found = pose.segment(scan, pose.Prompt(slice=60, box=(24, 44, 86, 109)), window="liver")
    found.write_mask("liver.nii.gz")

Data flows one way through the rooms: scans -> prompts -> segmenters -> scores -> results -> figures, and ``runs`` takes
a volume, or many, all the way. Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pose import cores
from pose.cli import UserError

if TYPE_CHECKING:
    from pose.prompts.prompt import Prompt
    from pose.prompts.prompt_file import read_prompts
    from pose.runs.model import Model, load_model, read_scan, segment
    from pose.runs.segmentation import Segmentation
    from pose.scans.volume import Volume as Scan
    from pose.segmenters.protocols import SlicePredictions

__version__ = "0.2.0"
__all__ = [
    "Model",
    "Prompt",
    "Scan",
    "Segmentation",
    "SlicePredictions",
    "UserError",
    "load_model",
    "read_prompts",
    "read_scan",
    "segment",
]

cores.prepare()

_PLACES = {
    "Model": "pose.runs.model",
    "Prompt": "pose.prompts.prompt",
    "Segmentation": "pose.runs.segmentation",
    "SlicePredictions": "pose.segmenters.protocols",
    "load_model": "pose.runs.model",
    "read_prompts": "pose.prompts.prompt_file",
    "read_scan": "pose.runs.model",
    "segment": "pose.runs.model",
}


def __getattr__(name: str) -> Any:
    if name == "Scan":
        return import_module("pose.scans.volume").Volume
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'pose' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
