"""Anonymous results: manifests and prompts without the paths of their volume, as these may tell who a patient is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pose.runs.case import Job

LEFT_OUT = "(left out by --anonymous)"


def without_paths(document: Any, job: Job, arguments: Mapping[str, Any] | None = None) -> Any:
    """Return what JSON holds of a volume with its name in place of its path, and without other paths.

    Args:
        document: what is to be written.
        job: the volume; where it is not anonymous, the document is returned as it is.
        arguments: the command line, flag by flag: what stands there as a path is left out wherever it stands.
    """
    if not job.anonymous:
        return document
    words = {str(form): LEFT_OUT for path in _paths((arguments or {}).values()) for form in (path, path.absolute())}
    for path in (job.prompts_path, job.masks_path, job.image_path.parent, job.results_folder):
        if path is not None:
            words.update({str(path.absolute()): LEFT_OUT, str(path): LEFT_OUT})
    words.update({str(job.image_path.absolute()): job.name, str(job.image_path): job.name})
    longest_first = sorted((word for word in words if Path(word).name), key=len, reverse=True)

    def cleared(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: command() if key == "command" else cleared(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [cleared(one) for one in value]
        if not isinstance(value, str):
            return value
        for word in longest_first:
            value = value.replace(word, words[word])
        return value

    return cleared(document)


def command() -> str:
    """Return what a manifest says of the command line."""
    return f"{Path(sys.argv[0]).name} --anonymous"


def _paths(values: Iterable[Any]) -> Iterator[Path]:
    for value in values:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, list | tuple):
            yield from _paths(value)
