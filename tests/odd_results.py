"""Folders of results with everything that may differ between volumes, the same on every machine: a joint table of them
tells whether reading and writing changed by a bit.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

STAMP = "2025-01-01_10-00-00"
SCORES = ("jaccard", "dice", "sam_score", "set_image_time", "predict_image_time", "process_image_time", "object_score")
COUNTS = ("ground_truth_voxels", "predicted_voxels", "false_positive_voxels", "needs_review")
COLUMNS = ("slice", *SCORES, *COUNTS, "hd95_mm", "review_score")
PUBLISHED = ("slice", "jaccard", "dice")
Draw = random.Random


def score(draw: Draw) -> float | None:
    """Return a number of any kind that a score or a time may be."""
    kind = draw.random()
    if kind < 0.1:
        return None
    if kind < 0.2:
        return draw.choice([0.0, 1.0, 0.5, 0.25, 1e-05, 2.5e-07, 0.0001, 1e16, 123456789.125, 0.1, 0.3, 1 / 3])
    if kind < 0.6:
        return draw.randrange(1, 2000) / draw.randrange(2000, 3000)
    return draw.random() * draw.choice([1e-6, 1e-3, 1.0, 1.0, 1.0, 1e3, 1e7])


def cell(value: float | int | None) -> str:
    return "" if value is None else repr(value)


def raw_data(draw: Draw, slices: int, columns: tuple[str, ...]) -> str:
    lines = [",".join(columns)]
    for number in range(slices):
        row: dict[str, float | int | None] = {name: score(draw) for name in columns}
        row.update({name: draw.choice([None, 0, 1, draw.randrange(10**6)]) for name in COUNTS})
        row["hd95_mm"] = draw.choice([math.inf, None, 0.0, draw.random() * 100])
        row["object_score"] = (score(draw) or 0.0) * draw.choice([-1, 1])
        row["slice"] = number
        lines.append(",".join(cell(row[name]) for name in columns))
    return "\n".join(lines) + "\n"


def summary(draw: Draw) -> str:
    values = {
        "dice": score(draw),
        "volume_dice": score(draw),
        "volume_hd95_mm": draw.choice([math.inf, score(draw)]),
        "missed_slices": draw.randrange(5),
        "false_positive_voxels": draw.choice([None, draw.randrange(1000)]),
    }
    if draw.random() < 0.3:
        values["volume_dice_label_1"] = score(draw)
    rows = [f"{name},{cell(value)},{cell(value)},{cell(value)},,1" for name, value in values.items()]
    return "\n".join(["metric,min,max,avg,std,n", *rows]) + "\n"


def write(folder: Path, raw: str, results: str | None = None, manifest: Mapping | None = None) -> None:
    folder.mkdir(parents=True)
    (folder / f"raw_data_{STAMP}.csv").write_bytes(raw.encode("utf-8"))
    if results is not None:
        (folder / f"results_{STAMP}.csv").write_bytes(results.encode("utf-8"))
    if manifest is not None:
        (folder / f"run_{STAMP}.json").write_text(json.dumps({"timestamp": STAMP, "status": "done", **manifest}))


def write_ours(folder: Path, draw: Draw) -> None:
    """Volumes of this project: of different sizes, with labels, failures, a seed patient, an older run."""
    for number in range(40):
        columns = COLUMNS if number % 5 else (*COLUMNS, "jaccard_label_2", "dice_label_2", "dice_label_1")
        columns = tuple(name for name in columns if number % 7 or name not in ("object_score", "review_score"))
        seeds = {"seeds": [{"slice_sha256": f"{number % 3:064}"}], "seed_patient": number == 11}
        manifest = {"prompted_slices": number % 4, "masked_slices": number, **({"seed": seeds} if number % 2 else {})}
        place = folder / f"case_{number:03}"
        write(place, raw_data(draw, draw.choice([0, 1, 2, 7, 30, 200]), columns), summary(draw), manifest)
        if number % 9 == 4:
            record = {"status": "failed", "reason": f'volume {number}: is, "cut"'}
            (place / "run_2026-01-01_00-00-00.json").write_text(json.dumps(record))
    write(folder / 'named, "so"', raw_data(draw, 3, COLUMNS), summary(draw), {})
    write(folder / "Ärzte", raw_data(draw, 3, COLUMNS))


def write_plain(folder: Path, draw: Draw) -> None:
    """Volumes alike, without object scores or times; only one has infinite values."""
    columns = tuple(name for name in COLUMNS if "time" not in name)
    for number in range(12):
        text = raw_data(draw, 20 + number, columns).splitlines()
        place = columns.index("object_score")
        rows = [",".join("" if at == place else one for at, one in enumerate(line.split(","))) for line in text[1:]]
        write(folder / f"case_{number:03}", "\n".join([text[0], *rows]) + "\n", summary(draw), {"prompted_slices": 1})


def write_published(folder: Path, draw: Draw) -> None:
    """Volumes of the published code: three columns, no manifest."""
    for number in range(6):
        write(folder / f"image_{number}", raw_data(draw, 25, PUBLISHED), "metric,min,max,avg,std\ndice,0.5,0.5,0.5,\n")


def write_foreign(folder: Path, draw: Draw) -> None:
    """Volumes whose tables other programs wrote: numbers, line ends, quotes and blanks that Python would not write."""
    lines = (
        "1,0.50,0.5",
        "0,1,1e0",
        " 3 ,0.30000000000000004,.5",
        "2.0,-0.0,+0.25",
        "7,nan,inf",
        "8,5e-1,1_0.5",
        "9,0.10000000000000001,0.5000000000000000277",
        "10,,00.5",
    )
    shapes: list[Callable[[str], str]] = [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("0.50", '"0.50"'),
    ]
    for number, shape in enumerate(shapes):
        kept = draw.sample(lines, 6)
        write(folder / f"foreign_{number}", shape("\n".join(["slice,jaccard,dice", *kept]) + "\n"))
    write(folder / "other_order", "dice,slice,jaccard\n0.5,0,0.25\n0.75,1,0.5\n")
    write(folder / "ours", raw_data(draw, 9, COLUMNS), summary(draw).replace(",1\n", ",1.0\n"), {})


SETS = {"ours": write_ours, "plain": write_plain, "published": write_published, "foreign": write_foreign}


def write_set(name: str, folder: Path) -> None:
    """Write the folder of results of this name."""
    SETS[name](folder, random.Random(name))
