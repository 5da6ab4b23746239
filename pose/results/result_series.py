"""Results that are compared: named series of one folder or more each, and subsets of their images by name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pose.cli import UserError, add_output_argument, named_folder
from pose.files.atomic import failure_named, write_atomically
from pose.files.tables import write_table
from pose.results.files import RunFiles
from pose.results.result_set import ResultSet, read_result_set

if TYPE_CHECKING:
    import pandas as pd

# What the published converter puts before the name of a scan.
PUBLISHED_PREFIX = "image_"


@dataclass(frozen=True)
class Series:
    """All results of one name, such as those of a model, from one folder or several; an image lies in one of them."""

    name: str
    sets: tuple[ResultSet, ...]

    @property
    def raw_data(self) -> pd.DataFrame:
        """The rows of all raw_data tables after a column ``image``."""
        return _joined([one.raw_data for one in self.sets]).reset_index(drop=True)

    @property
    def volume_metrics(self) -> pd.DataFrame:
        """A row per image (the index) and a column per metric of a whole volume."""
        return _joined([one.volume_metrics for one in self.sets])

    @property
    def images(self) -> list[str]:
        """The names of the images that have results."""
        return [image for one in self.sets for image in one.volume_metrics.index]

    @property
    def failures(self) -> dict[str, str]:
        """Why volumes have no result, by image."""
        return {image: reason for one in self.sets for image, reason in one.failures.items()}

    def run_files(self) -> dict[str, RunFiles]:
        """Return the files of the newest run of each image."""
        return {image: one.run_files(image) for one in self.sets for image in one.volume_metrics.index}


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    # An empty column has no type, and pandas warns that it will look at that in another way.
    filled = [table.dropna(axis="columns", how="all") for table in tables]
    names = list(dict.fromkeys(name for table in tables for name in table))
    return pd.concat(filled).reindex(columns=names) if len(tables) > 1 else tables[0]


def read_series(folders: Sequence[tuple[str, Path]]) -> list[Series]:
    """Read results folders by name, in the order of the names; folders of the same name make one series.

    Raises:
        UserError: a folder cannot be read, or two folders of a name hold the same image.
    """
    sets: dict[str, list[ResultSet]] = {}
    where: dict[tuple[str, str], Path] = {}
    for name, folder in folders:
        found = read_result_set(folder)
        sets.setdefault(name, []).append(found)
        for image in (*found.volume_metrics.index, *found.failures):
            if (name, image) in where:
                first = where[name, image]
                hint = f"; give them two names, such as {name}_1={first} {name}_2={folder}"
                raise UserError(f"{folder}: {image} is in {first} as well, and both are named {name}{hint}")
            where[name, image] = folder
    return [Series(name, tuple(found)) for name, found in sets.items()]


@dataclass(frozen=True)
class Subset:
    """The images whose names start with a prefix, such as those of one data set; all of them for an empty one."""

    name: str
    prefix: str = ""

    def holds(self, image: str) -> bool:
        """Tell whether an image belongs to it; the prefix of published names does not matter."""
        return image.startswith(self.prefix) or image.removeprefix(PUBLISHED_PREFIX).startswith(self.prefix)


ALL = Subset("all")


def subset(text: str) -> Subset:
    """Argument type: "all", a prefix of image names, or NAME=PREFIX."""
    name, equals, prefix = text.partition("=")
    if equals and not (name and prefix):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PREFIX")
    return ALL if text == ALL.name else Subset(name, prefix or name)


def check_subsets(subsets: Sequence[Subset], series: Sequence[Series]) -> None:
    """Raise UserError for a subset without an image in any of the series, and for two subsets of one name."""
    images = sorted({image for one in series for image in (*one.images, *one.failures)})
    for index, one in enumerate(subsets):
        if not any(map(one.holds, images)):
            raise UserError(f"--subsets {one.prefix}: no image is named so; they are {', '.join(images):.200}")
        if one.name in [other.name for other in subsets[:index]]:
            raise UserError(f"--subsets: {one.name} comes twice")


def add_series_arguments(parser: argparse.ArgumentParser, subsets: bool = True) -> None:
    """Add which results are compared, and where tables and plots go."""
    parser.add_argument(
        "-r",
        "--results_folder_path",
        type=named_folder,
        nargs="+",
        required=True,
        metavar="NAME=FOLDER",
        help="folders that hold a folder of results for each volume, ours or of the published code, with the name they "
        "are shown by (default: the folder's own); folders of the same name are taken together",
    )
    add_output_argument(parser)
    if subsets:
        parser.add_argument(
            "--subsets",
            type=subset,
            nargs="+",
            default=[ALL],
            metavar="PREFIX",
            help="all, and prefixes of image names: coronacases, radiopaedia, or NAME=PREFIX such as montgomery=MCUCXR "
            "(default: all)",
        )


def write_outputs(
    folder: Path, tables: dict[str, pd.DataFrame], plots: dict[str, Callable[[Path], list[Path]]]
) -> list[Path]:
    """Write tables as CSV and let plots draw themselves, by their names without a suffix; return all files written.

    Raises:
        UserError: the folder cannot be written to.
    """
    with failure_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        write_atomically(path, partial(write_table, table=table))
        written.append(path)
    for name, draw in plots.items():
        written += draw(folder / name)
    return written
