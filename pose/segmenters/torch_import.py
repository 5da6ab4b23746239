"""Importing PyTorch without what only its compiler needs, and building networks whose weights come from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# the shapes that operators give to tensors without data, and what relies on them
SHAPE_RULES = "torch._meta_registrations"
RELIES_ON_THEM = frozenset(("torch._decomp", "torch._dynamo", "torch._prims", "torch._refs"))
# methods of tensors and functions of torch.nn.init by which layers fill their weights
RANDOM = frozenset(("normal_", "uniform_", "erfinv_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"))


def import_torch() -> None:
    """Import PyTorch without its rules for tensors without data, which take a quarter of the time and serve its
    compiler.

    The compiler gets them when it is imported itself. Who works on the device "meta" without it would miss some, so
    that programs call this, and never the library.
    """
    if "torch" in sys.modules:
        return
    stand_in = ModuleType(SHAPE_RULES)
    sys.modules[SHAPE_RULES] = stand_in
    try:
        torch = import_module("torch")
    finally:
        if sys.modules.get(SHAPE_RULES) is stand_in:
            del sys.modules[SHAPE_RULES]
    vars(torch).pop(SHAPE_RULES.rpartition(".")[2], None)
    sys.meta_path.insert(0, _RulesFirst())


class _RulesFirst(MetaPathFinder, Loader):
    """Imports the rules before the first module that relies on them: they import some of these in the one order that
    is no circle.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in RELIES_ON_THEM:
            return None
        sys.meta_path.remove(self)
        import_module(SHAPE_RULES)
        module = sys.modules.get(fullname)
        if module is None:
            return None
        # imported on the way: once more would be once too often
        self._found = module.__spec__
        module.__spec__ = ModuleSpec(fullname, self)
        return module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._found


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
