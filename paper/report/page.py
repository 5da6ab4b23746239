"""Make one HTML page of a folder of results, or of several side by side, and a LaTeX file of the same tables.

The page needs no other file and no network: scores with 95 % intervals (a bootstrap that draws whole volumes), box
plots, every volume, the worst slices with pictures, Dice by the distance from the prompt, times, prompts saved,
failures, settings and versions. A picture is drawn where the scan is still where the run found it, and is the same
file; relative paths count from the current folder. Folders written by the code of the published paper are read as well.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose import cli
from pose.cli import UserError

if TYPE_CHECKING:
    from paper.report.data import Results
    from paper.report.pictures import Picture
    from paper.report.tables import Table

TEMPLATE = "page.html.j2"
SCORES_CAPTION = "Scores of slices. Line: median; box: quartiles; whiskers: to the last within 1.5 box lengths of it."
VOLUMES_CAPTION = "Dice of the slices of each volume, the lowest mean first."
SEED = "the volume that a seed slice came from is left out of the statistics (--include_seed_patient counts it)"


@dataclass(frozen=True)
class Plot:
    """A plot of the page: its id, what it shows, the words for who cannot see it, and the picture."""

    name: str
    caption: str
    alternative: str
    png: bytes


@dataclass(frozen=True)
class Section:
    """A part of the page, in this order: text, plots, tables, pictures."""

    name: str
    title: str
    text: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = field(default=())


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=cli.named_folder,
        nargs="+",
        required=True,
        metavar="[NAME=]FOLDER",
        help="folders that hold a folder of results for each volume; the newest run of each is read",
    )
    parser.add_argument(
        "-o",
        "--output_file_path",
        type=Path,
        metavar="FILE",
        help="the page, .html; the tables go to the same name with .tex (default: report.html in the first folder)",
    )
    parser.add_argument("--title", default="Segmentation report", help="heading of the page (default: %(default)s)")
    parser.add_argument(
        "--worst_slices",
        type=cli.whole_number,
        default=10,
        metavar="N",
        help="how many slices of each folder are shown as pictures, worst first (default: %(default)s)",
    )
    parser.add_argument(
        "--include_seed_patient",
        action="store_true",
        help="count the volume that the seed slice of a data set came from in the statistics, too",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    cli.configure_logging()
    folders = arguments.results_folder_path
    names = [name for name, _ in folders]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--results_folder_path: two folders are named {repeated[0]}; give names: NAME=FOLDER")
    page = arguments.output_file_path or folders[0][1] / "report.html"
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output_file_path {page}: must end in .html")

    from paper.report.data import read_results
    from paper.report.latex import latex
    from pose.files.atomic import failure_named, write_all_atomically

    sets = [read_results(name, folder, arguments.include_seed_patient) for name, folder in folders]
    parts = sections(sets, arguments.worst_slices)
    html = render(arguments.title, datetime.now().strftime("%Y-%m-%d %H:%M"), parts)
    tables = latex([table for part in parts for table in part.tables])
    with failure_named(page.parent):
        page.parent.mkdir(parents=True, exist_ok=True)
    write_all_atomically(
        (path, lambda temporary, text=text: temporary.write_text(text, "utf-8", "backslashreplace"))
        for path, text in ((page.with_suffix(".tex"), tables), (page, html))
    )
    print(f"{sum(len(one.images) for one in sets)} volumes, {sum(len(one.slices) for one in sets)} slices")
    print(page)
    print(page.with_suffix(".tex"))
    return cli.EXIT_OK


def sections(sets: Sequence[Results], worst: int) -> list[Section]:
    """Return the parts of the page for ``sets``, each with tables, or with a sentence that says why it has none."""
    from paper.report import plots as plots
    from paper.report import tables as tables
    from pose.scores.statistics import RESAMPLES

    scored = any(one.slices["dice"].notna().any() for one in sets)
    names = " and ".join(one.name for one in sets)
    interval = (
        "A 95 % interval is that of the mean, by a bootstrap that draws whole volumes with their slices "
        f"({RESAMPLES:,} times, seeded): slices of one volume are alike. With fewer than two volumes there is none. "
        "Slices without ground truth and without a prediction have no Jaccard and no Dice, and do not count; "
        "missed ones count as 0.",
    )
    boxes = tuple(
        Plot(name, caption, f"Box plots for {names}: {caption}", draw(sets))
        for name, caption, draw, wanted in (
            ("scores", SCORES_CAPTION, plots.scores, True),
            ("dice-by-volume", VOLUMES_CAPTION, plots.volumes, scored),
        )
        if wanted
    )
    seeds = (f"As seed patient, {SEED}.",) if any(one.left_out for one in sets) else ()
    parts = [
        Section("what", "What was read", seeds, tables=(tables.overview(sets),)),
        Section("scores-section", "Scores", interval, tables=(tables.summary(sets),)),
        Section("boxes", "Box plots", plots=boxes),
        Section("every-volume", "Every volume", tables.left_away(sets), tables=(tables.per_volume(sets),)),
        worst_section(sets, worst),
        distance_section(sets, names),
    ]
    for name, title, table, missing in (
        ("next-section", "Where to look next", tables.look_next(sets), "Nothing speaks against any volume."),
        ("times-section", "Times", tables.times(sets), "These runs recorded no times."),
        ("prompts-section", "Prompts saved", tables.saved(sets), ""),
        ("failures-section", "Failures", tables.failures(sets), "No volume failed."),
        ("settings-section", "Settings", tables.settings(sets), "These runs recorded no settings."),
        ("versions-section", "Versions", tables.versions(sets), ""),
    ):
        parts.append(Section(name, title, tables=(table,)) if table.rows else Section(name, title, (missing,)))
    return parts


def worst_section(sets: Sequence[Results], count: int) -> Section:
    """Return the worst slices of each folder with their pictures."""
    from paper.report.pictures import pictures_of_worst, ranking

    pictures = tuple(picture for one in sets for picture in pictures_of_worst(one, count))
    if not pictures:
        return Section("worst", "Worst slices", ("None were asked for.",) if not count else ("No slice has a score.",))
    text = f"The {count} slices of each folder with the least Dice, worst first; of equal ones, larger objects first."
    unscored = [one.name for one in sets if ranking(one) not in ("dice", None)]
    without = f"Without ground truth, {', '.join(unscored)} is ranked by the model's own score." if unscored else ""
    return Section("worst", "Worst slices", tuple(filter(None, (text, without))), pictures=pictures)


def distance_section(sets: Sequence[Results], names: str) -> Section:
    """Return Dice by the distance from the prompt, as far as prompts and the distances between slices are known."""
    from paper.report import plots as report_plots
    from paper.report import tables as report_tables

    text = []
    for one in sets:
        scored = int((one.by_volume("dice")["n"] > 0).sum())
        unknown = scored - one.distances["volume"].nunique()
        if unknown:
            text.append(
                f"{one.name}: {unknown} of {scored} volumes with ground truth are left out: no slice of theirs "
                "was prompted, or the prompts or the millimetres between slices were not recorded."
            )
        elif scored and not one.distances["distance_mm"].any():
            text.append(f"{one.name}: every slice with a Dice was prompted, so that all distances are 0.")
    table = report_tables.by_distance(sets)
    if not table.rows:
        return Section("distance-section", "Dice by distance", tuple(text) or ("No slice has a Dice.",))
    caption = "Dice of slices (dots) by the distance from the nearest prompted slice. Line: median; band: quartiles."
    plot = Plot("dice-by-distance", caption, f"Curves for {names}: {caption}", report_plots.by_distance(sets))
    return Section("distance-section", "Dice by distance", tuple(text), (plot,), (table,))


def render(title: str, made: str, parts: Sequence[Section]) -> str:
    """Return the page; whatever comes from files is escaped."""
    import jinja2

    from paper.report.tables import digits_of, metric_name, number

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(data_uri=data_uri, metric_name=metric_name)
    environment.filters["score"] = lambda value, metric: number(value, digits_of(metric))
    values: dict[str, Any] = {"title": title, "made": made, "sections": parts}
    return environment.get_template(TEMPLATE).render(values) + "\n"


def data_uri(png: bytes) -> str:
    """Return a PNG as an address that holds the picture itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
