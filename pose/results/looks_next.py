"""Which volumes to look at next, and on which slice: where a data set is likely to be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pose.results import files
from pose.scores.likely_dice import LIKELY_ENOUGH, LikelyDice

if TYPE_CHECKING:
    import pandas as pd


def worst_first(per_volume: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of volumes that a person should look at, the first one first.

    These are the ones with slices to review, or with a likely Dice below that from which an object is trusted: by their
    likely Dice, those without one after them by the share of their slices to review.

    Args:
        per_volume: a row per volume: ``image``, ``slices``, and of the metrics of whole volumes those that are known.
    """
    names = ["likely_dice", "slices_to_review", "slices"]
    known = per_volume.reindex(columns=names).astype("float64")
    likely, to_review, slices = (known[name] for name in names)
    order = per_volume.assign(_likely=likely, _share=-(to_review / slices))
    wanted = (likely < LIKELY_ENOUGH) | (to_review > 0)
    return order[wanted].sort_values(["_likely", "_share"], kind="stable").drop(columns=["_likely", "_share"])


def next_look(volume: Mapping[Any, Any]) -> str:
    """Return in words where to look in a volume, a row of :func:`worst_first`, and why."""
    import pandas as pd

    why = []
    if pd.notna(likely := volume.get("likely_dice")):
        why.append(str(LikelyDice(likely, volume["likely_dice_low"], volume["likely_dice_high"])))
    if pd.notna(to_review := volume.get("slices_to_review")):
        why.append(f"{int(to_review)} of {int(volume['slices'])} slices to review")
    where = volume.get(files.NUMBER_OF_SLICE)
    return f"{volume['image']}{f', slice {int(where)}' if pd.notna(where) else ''}: {', '.join(why)}"
