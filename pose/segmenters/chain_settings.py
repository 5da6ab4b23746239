"""What a chain goes by: its rules in words, their settings, and the flags of these."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

RULES = """\
how a chain carries an object from slice to slice:
  The prompted slice is segmented from the prompt as it was given; a prompt that is a mask is the object itself. Its
  grey levels are compared with those round it, which gives each level a log-likelihood of being the object's: the
  evidence. On the next slice
  1. the object may lie only within reach of its last mask (--chain_reach), and no nearer to another object's;
  2. the network's own features, compared in the same way on the prompted slice, add to the evidence
     (--chain_feature_weight). Where grey levels tell object and surroundings apart on the prompted slice
     (--chain_separation), each connected part of what looks like the object and touches the last mask gives a box:
     parts split, merge, grow and come back. Elsewhere the last mask is stretched or squeezed, side by side, to gather
     the most evidence, and gives the box; what moving a side gains must have more evidence than --chain_inertia;
  3. the network segments each box, widened by --chain_margin; its log-odds plus the evidence (times
     --chain_evidence_weight) plus --chain_persistence of what the slice before had decide on each pixel;
  4. what does not touch the last mask is dropped, small holes are filled;
  5. the object has ended where less than --chain_smallest_area is left, or where the mask looks, on average, more like
     the surroundings than --chain_end_evidence allows; where it has grown beyond --chain_largest_growth times its area
     on the prompted slice, for then it has leaked; and where views from the side (--side_views), three planes along
     rows and three along columns on which the network follows the object up and down, confirm less than
     --chain_confirmed of what they cut of it and of each of its parts; parts of which they confirm as much go on.
     It stays ended on all further slices of that direction. Where they confirm less than --chain_look_again of an
     object that is as large as before, it has moved, and new planes are laid through it.
  A mask whose box overlaps the prompted one by less than --chain_prompt_fit is wrong from the start: the grey levels
  inside the box give another, where that fills the box. So they do for a mask that fills less than a third of its
  box, where they tell the other one better from its surroundings.
  A slice between two prompted ones is carried from the nearer (of equally near ones, from the lower)."""


@dataclass(frozen=True)
class ChainSettings:
    """How a chain decides.

    Attributes:
        reach: how far a mask may move from slice to slice, as a share of the square root of its area; at least 4
            pixels.
        separation: the share of pixels (0.5 to 1) that grey levels alone must put on the right side, on the prompted
            slice, for the boxes to follow them.
        inertia: mean log-odds that the pixels gained by moving a side of the box must have, where grey levels alone do
            not tell object and surroundings apart; high values keep the box as it was.
        margin: pixels by which every box is widened on each side before the network sees it.
        evidence_weight: of the grey levels' log-odds against the network's; 0 leaves all to the network.
        end_evidence: mean log-odds of a mask's grey levels below which the object has ended.
        smallest_area: pixels below which the object has ended.
        largest_hole: holes up to this share of a mask's area are filled.
        side_views: whether planes across the slices have a say in where an object ends.
        confirmed: share of an object's pixels on these planes that they must confirm on a slice.
        look_again: share below which planes are laid anew through an object that is as large as before; 0 for never.
        feature_weight: of the log-odds that the encoder's features give (:mod:`pose.segmenters.appearance`) against the
            network's; 0 for none.
        persistence: share of the log-odds of the slice before that count on a slice, within reach.
        prompt_fit: IoU of the box round a prompted slice's mask with its prompt below which grey levels may replace it;
            0 keeps every mask.
        largest_growth: how many times its area on the prompted slice an object may have; infinite for no limit.
    """

    reach: float = 0.2
    separation: float = 0.85
    inertia: float = 0.3
    margin: int = 0
    evidence_weight: float = 1.0
    end_evidence: float = 0.0
    smallest_area: int = 8
    largest_hole: float = 0.02
    side_views: bool = True
    confirmed: float = 0.1
    look_again: float = 0.35
    feature_weight: float = 1.0
    persistence: float = 0.4
    prompt_fit: float = 0.6
    largest_growth: float = 3.0


# without what the side views brought: a chain as it was before them, to the byte
WITHOUT_SIDE_VIEWS = ChainSettings(
    side_views=False, feature_weight=0.0, persistence=0.0, prompt_fit=0.0, largest_growth=math.inf
)

FLAGS = (
    ("reach", "SHARE", "how far a mask may move a slice, as a share of the root of its area"),
    ("separation", "SHARE", "share of pixels that grey levels must tell apart to give the boxes"),
    ("inertia", "LOG_ODDS", "evidence that moving a side of a box needs where they do not"),
    ("margin", "PIXELS", "widen every box on each side before the network sees it"),
    ("evidence_weight", "WEIGHT", "weight of grey levels against the network, 0 for none"),
    ("end_evidence", "LOG_ODDS", "mean evidence of a mask below which the object has ended"),
    ("smallest_area", "PIXELS", "area below which the object has ended"),
    ("confirmed", "SHARE", "share of an object that views from the side must confirm on a slice"),
    ("look_again", "SHARE", "share below which views from the side are taken anew, 0 for never"),
    ("feature_weight", "WEIGHT", "weight of the encoder's features against the network"),
    ("persistence", "SHARE", "how much of the log-odds of the slice before counts"),
    ("prompt_fit", "IOU", "overlap of boxes below which grey levels may replace a prompted slice's mask"),
    ("largest_growth", "TIMES", "area, of that on the prompted slice, beyond which an object has leaked"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of :class:`ChainSettings`."""
    default = ChainSettings()
    group = parser.add_argument_group("chain", "how --method chain carries an object; the rules stand below")
    for name, metavar, what in FLAGS:
        value, without = getattr(default, name), getattr(WITHOUT_SIDE_VIEWS, name)
        depends = value != without
        said = f"{value}, {without:g} with --side_views off" if depends else f"{value}"
        group.add_argument(
            f"--chain_{name}",
            type=type(value),
            default=None if depends else value,
            metavar=metavar,
            help=f"{what} (default: {said})",
        )
    group.add_argument(
        "--side_views",
        choices=("on", "off"),
        default="on",
        help="off: no planes from the side, and other defaults of the flags that say so (default: %(default)s)",
    )


def chosen(flags: Mapping[str, Any]) -> ChainSettings:
    """Return the settings that the flags ask for; what those that were not given mean depends on ``--side_views``."""
    default = ChainSettings() if flags["side_views"] == "on" else WITHOUT_SIDE_VIEWS
    names = [one.name for one in fields(ChainSettings) if flags.get("chain_" + one.name) is not None]
    return replace(default, **{name: flags["chain_" + name] for name in names})


def describe_rules() -> str:
    """Return the rules of the chain as a paragraph for ``--help``."""
    return RULES
