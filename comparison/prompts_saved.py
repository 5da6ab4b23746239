"""Tell what prompting once saves: the masked slices of each volume against the prompts that were given.

A prompt on every masked slice is what segmenting slice by slice takes. Beside the prompts as they were given, where
runs have manifests that know of them, the table has one prompt for each volume, and one for the whole data set.
Masked slices come from the manifest, else from the column ground_truth_voxels, else (published results) from the
slices that have a Dice. A volume that the seed of a data set came from is left out of the sums. Writes
prompts_saved.csv (volumes), .pdf and .png, and prompts_saved_total.csv (data sets).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROJECT_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli, results
from pose.files.atomic import failure_named, write_all_atomically

if TYPE_CHECKING:
    import pandas as pd

    from pose.results.result_set import ResultSet

AS_GIVEN = "as given"
MOST_NAMED = 60  # volumes; more have bars without names, on one page


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=cli.named_folder,
        nargs="+",
        required=True,
        metavar="NAME=FOLDER",
        help="folders that hold a folder of results for each volume, one for each data set",
    )
    parser.add_argument(
        "--include_seed_patient", action="store_true", help="count the volume that a seed slice came from, too"
    )
    cli.add_output_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Count, write the tables and the plot, print the sums; see ``--help``."""
    arguments = make_parser().parse_args(argv)
    import pandas as pd

    from pose.figures.plots import new_plot, save_plot
    from pose.files.tables import as_text
    from pose.results.result_set import read_result_set

    cli.configure_logging()
    names = [name for name, _ in arguments.results_folder_path]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise cli.UserError(f"--results_folder_path: two sets are called {twice}; give NAME=FOLDER")
    tables, sums = [], []
    for name, folder in arguments.results_folder_path:
        one = read_result_set(folder)
        table = volume_table(one)
        tables.append(table.assign(data_set=name))
        sums += [{"data_set": name, **row} for row in totals(one, table, arguments.include_seed_patient)]
    volumes = pd.concat(tables, ignore_index=True)
    volumes = volumes[["data_set", *(column for column in volumes if column != "data_set")]]
    total = pd.DataFrame(sums)
    folder = arguments.output_folder_path
    with failure_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = {folder / "prompts_saved.csv": volumes, folder / "prompts_saved_total.csv": total}
    with new_plot(160, 30 + 5.5 * min(len(volumes), MOST_NAMED)) as figure:
        draw(figure, volumes, total)
        pictures = save_plot(figure, folder / "prompts_saved")
    write_all_atomically((path, partial(results.write_table, table=value)) for path, value in files.items())
    print(as_text(volumes))
    print()
    for row in total.to_dict("records"):
        print(sentence(row))
    print()
    for path in (*files, *pictures):
        print(path)
    return cli.EXIT_OK


def volume_table(one: ResultSet) -> pd.DataFrame:
    """Return a row per volume: image, masked_slices, masked_slices_from, prompted_slices and seed_patient (0 or 1)."""
    import pandas as pd

    rows = []
    for image in one.volume_metrics.index:
        known, slices = one.prompts[image], one.raw_data[one.raw_data["image"] == image]
        masked, source = known.masked_slices, "manifest"
        if masked is None and "ground_truth_voxels" in slices and slices["ground_truth_voxels"].notna().any():
            masked, source = int((slices["ground_truth_voxels"] > 0).sum()), "ground_truth_voxels"
        if masked is None:
            masked, source = int(slices["dice"].notna().sum()), "slices with a Dice"
        rows.append(
            {
                "image": image,
                "masked_slices": masked,
                "masked_slices_from": source,
                "prompted_slices": known.prompted_slices,
                "seed_patient": int(bool(known.seed_patient)),
            }
        )
    return pd.DataFrame(rows).astype({"prompted_slices": "Int64"})


def totals(one: ResultSet, table: pd.DataFrame, include_seed_patient: bool) -> list[dict[str, Any]]:
    """Return a row for each way to prompt a data set: way, volumes, prompts, masked_slices and saved_percent.

    Raises:
        UserError: no volume is left to count, or none has a masked slice.
    """
    from pose.results.prompts_saved import PromptsSaved, prompts_saved

    counted = table if include_seed_patient else table[table["seed_patient"] == 0]
    masked = int(counted["masked_slices"].sum())
    if counted.empty:
        raise cli.UserError(f"{one.folder}: only the seed patient has results; --include_seed_patient counts it")
    if not masked:
        raise cli.UserError(f"{one.folder}: no slice has ground truth, so that no prompt could be saved")
    given = prompts_saved(one.prompts[image] for image in counted["image"]).used
    ways = {"each masked slice": masked, "each volume": len(counted), "the data set": 1}
    ways |= {} if given is None else {AS_GIVEN: given}
    return [
        {
            "way": way,
            "volumes": len(counted),
            "prompts": prompts,
            "masked_slices": masked,
            "saved_percent": PromptsSaved(len(counted), prompts, masked).saved_percent,
        }
        for way, prompts in ways.items()
    ]


def sentence(row: dict[str, Any]) -> str:
    """Return the sum of one data set and one way in words."""
    how = "prompts as given" if row["way"] == AS_GIVEN else f"one prompt for {row['way']}"
    counts = f"{row['prompts']} for {row['masked_slices']} masked slices in {row['volumes']} volumes"
    return f"{row['data_set']}, {how}: {counts}, {row['saved_percent']:.2f} % saved"


def draw(figure: Any, volumes: pd.DataFrame, total: pd.DataFrame) -> None:
    """Draw the masked slices of each volume as bars, a colour for each data set, and the prompts given on them."""
    from pose.figures.names import shown_name
    from pose.figures.plots import SERIES

    axes = figure.add_subplot()
    prompted = volumes["prompted_slices"].notna()
    for number, name in enumerate(volumes["data_set"].unique()):
        rows = volumes[volumes["data_set"] == name]
        way = total[total["data_set"] == name].iloc[-1]
        axes.barh(
            rows.index,
            rows["masked_slices"],
            color=SERIES[number % len(SERIES)],
            height=0.7,
            alpha=0.75,
            label=shown_name(sentence(way.to_dict())),
        )
        for place, masked in rows["masked_slices"].items() if len(volumes) <= MOST_NAMED else ():
            axes.text(masked, place, f" {masked}", va="center", fontsize="small")
    if prompted.any():
        given = volumes[prompted]
        axes.barh(given.index, given["prompted_slices"], color="black", height=0.25, label="prompted slices")
    if len(volumes) <= MOST_NAMED:
        axes.set_yticks(range(len(volumes)), map(shown_name, volumes["image"]))
    else:
        axes.set_ylabel("volumes")
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("masked slices")
    figure.legend(loc="outside upper left", frameon=False, fontsize="small")


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
