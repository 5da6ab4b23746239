"""Importing torchvision, which segment-anything, sam2's image predictor and timm need, also where it does not fit the
torch that is there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# what is declared lives as long as these objects
_LIBRARIES: list[torch.library.Library] = []


def import_torchvision() -> None:
    """Import torchvision, also where a CUDA build of it stands beside a CPU build of torch.

    Such a torchvision cannot load its compiled operators and fails while it registers shapes for them. Declaring the
    operators that it names lets the import pass; none of the models here calls them. Nothing is patched where the plain
    import works.
    """
    if "torchvision" in sys.modules:
        return
    with _compiler_when_called():
        _import_torchvision()


@contextmanager
def _compiler_when_called() -> Iterator[None]:
    """Let torchvision take one function of PyTorch's compiler without importing that, which takes seconds.

    The function tells whether ``roi_align`` can be compiled; it asks the compiler once it is called.
    """
    name = "torch._dynamo.utils"
    if name in sys.modules:
        yield
        return

    def is_compile_supported(device_type: str) -> bool:
        return bool(import_module(name).is_compile_supported(device_type))

    module = ModuleType(name)
    module.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]


def _import_torchvision() -> None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", _non_maximum_suppression, "CPU")
        _LIBRARIES.append(library)
        import torchvision  # noqa: F401


def _non_maximum_suppression(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression: indices of the boxes kept, best score first; boxes are (n, 4) as x0, y0,
    x1, y1.
    """
    import torch

    order = scores.argsort(descending=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.numel():
        best, order = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[order, :2])
        high = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        order = order[overlap / (areas[best] + areas[order] - overlap) <= iou_threshold]
    return torch.stack(kept) if kept else boxes.new_zeros(0, dtype=torch.long)
