"""YAML that is read without trusting it: short, flat, and without what stands for more than it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pose.cli import UserError

LONGEST, DEEPEST = 1 << 16, 8
# what PyYAML lets through of values that do not fit their tag (!!int x, 2001-99-99)
DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        UserError: not YAML, longer than 65536 characters, nested deeper than 8 levels, or with an alias.
    """
    import yaml

    # ten times as quick, where PyYAML was built with it
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LONGEST:
            raise UserError(f"{path}: {len(text)} characters; a description of a model has {LONGEST} at most")
        depth = 0
        for event in yaml.parse(text, loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            # a few lines of aliases can stand for a billion words, and the time for nested lists grows as its square
            if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
                raise UserError(f"{path}: has an alias (*name) or lists in lists, which no model's description needs")
        return yaml.load(text, loader)
    except DAMAGE + (yaml.YAMLError,) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
