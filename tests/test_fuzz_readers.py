"""Broken inputs: those that once found a fault, what hypothesis makes of prompts and tables, a short fuzz of all."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas  # noqa: F401  not first within the time of a case
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pose.cli import UserError
from pose.prompts.prompt import Prompt
from pose.prompts.prompt_file import read_prompts
from pose.results import read_table
from pose.results.prompts_saved import read_volume_prompts
from pose.scans.volume import read_volume
from pose.segmenters.models import read_config
from pose.segmenters.sam2.seed_memory import load_seed_memory
from tests import fuzz_mutations, fuzz_readers
from tests.fuzz_readers import READERS, Hang, Wrong, fuzz, outcome_of

CORPUS = Path(__file__).parent / "corpus"
EXPECTED = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))


def _seed_memory(path: Path) -> object:
    return load_seed_memory(path, **fuzz_mutations.SEED_FACTS, device=torch.device("cpu"))


REPLAYED: dict[str, Callable[[Path], object]] = {
    "volume": read_volume,
    "prompts": read_prompts,
    "raw_data": lambda path: read_table(path, ("slice", "jaccard", "dice")),
    "run": read_volume_prompts,
    "seed_memory": _seed_memory,
    "model": read_config,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_corpus_ends_as_its_table_says(name: str) -> None:
    entry = EXPECTED[name]
    path, messages = CORPUS / name, []

    def read() -> None:
        try:
            REPLAYED[entry["reader"]](path)
        except UserError as error:
            messages.append(str(error))
            raise

    outcome = outcome_of(read, CORPUS)
    if entry["expected"] == "value":
        assert outcome == "value", messages
    else:
        assert outcome == "error"
        assert entry["expected"] in messages[0]


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.iterdir()) < 50_000


# a header that claims 10^12 voxels

TERA = (10_000, 10_000, 10_000)
NPY_TERA = fuzz_mutations.npy_with_header(
    f"{{'descr': '<i2', 'fortran_order': False, 'shape': {TERA}}}".encode(), bytes(1000)
)


def _npz(member: bytes, file_size: int | None = None) -> bytes:
    """An archive of one array; ``file_size`` is what its directory claims that the member has."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("voxels.npy", member)
        if file_size is not None:
            archive.infolist()[0].file_size = file_size
    return file.getvalue()


def _nifti(packed: bool) -> bytes:
    header, voxels = fuzz_mutations.NIFTI_FILES[0]
    header = header.copy()
    header["dim"][1:4] = TERA
    content = header.binaryblock + bytes(4) + voxels
    return fuzz_mutations.gzip.compress(content) if packed else content


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scan.nii", _nifti(packed=False)),
        ("scan.nii.gz", _nifti(packed=True)),
        ("scan.npy", NPY_TERA),
        ("scan.npz", _npz(NPY_TERA)),
        ("scan.npz", _npz(NPY_TERA, len(NPY_TERA) - 1000 + 2 * 10**12)),
        ("scan.npz", _npz(NPY_TERA, 2**64 - 1)),
    ],
    ids=["nii", "nii.gz", "npy", "npz", "npz and its directory", "npz with a directory of 2^64"],
)
def test_a_claim_of_10_to_the_12_voxels_is_refused_before_allocation(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    read_volume(CORPUS / f"labels{'.npy' if name.endswith('npy') else '.nii.gz'}")  # imports
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="promises"):
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_volume_of_air_is_read_however_well_it_compresses(tmp_path: Path) -> None:
    member = io.BytesIO()
    np.save(member, np.full((512, 512, 20), -1024, np.int16))
    path = tmp_path / "air.npz"
    path.write_bytes(_npz(member.getvalue()))
    assert path.stat().st_size < 512 * 512 * 20 * 2 / 900
    voxels = read_volume(path).voxels
    assert voxels.shape == (512, 512, 20)
    assert (voxels == -1024).all()


# what hypothesis makes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
small = st.integers(-1, 6)
points = st.fixed_dictionaries({"row": small, "column": small, "label": st.integers(-1, 2)}) | json_values
sides = ("row_min", "column_min", "row_max", "column_max")
boxes = st.fixed_dictionaries({name: small for name in sides}) | json_values
prompts = st.fixed_dictionaries(
    {"slice": small | json_values},
    optional={
        "object_id": st.integers(0, 3) | json_values,
        "points": st.lists(points, max_size=3) | json_values,
        "box": boxes,
        "mask_file_path": st.sampled_from(["labels.npz", "labels.nii.gz", "nowhere.npz", ""]) | st.text(max_size=300),
    },
)
documents = st.lists(prompts, max_size=3) | st.fixed_dictionaries(
    {"prompts": st.lists(prompts, max_size=3) | json_values},
    optional={
        "shape": st.just({"rows": 3, "columns": 4, "slices": 5}) | json_values,
        "swap_axes": st.booleans() | json_values,
        "format": st.just("pose_prompts") | json_values,
        "version": st.just(1) | json_values,
    },
)
unhurried = settings(
    max_examples=100, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@unhurried
@given(document=documents, shape=st.sampled_from([(3, 4, 5), None]))
def test_any_json_is_prompts_within_the_image_or_an_error(
    tmp_path: Path, document: object, shape: tuple[int, int, int] | None
) -> None:
    for name in ("labels.npz", "labels.nii.gz"):
        if not (tmp_path / name).exists():
            (tmp_path / name).write_bytes((CORPUS / name).read_bytes())
    (tmp_path / "case.json").write_text(json.dumps(document), encoding="utf-8")

    def read() -> None:
        for prompt in read_prompts(tmp_path / "case.json", shape):
            assert isinstance(prompt, Prompt)
            assert 0 <= prompt.slice < (5 if shape else 2**53)
            assert prompt.positive_points or prompt.box or prompt.mask.any()

    outcome_of(read, tmp_path)


words = ["slice", "jaccard", "dice", "n", "0", "1", "0.5", "", "inf", "nan", "1e300", "-0"]
cells = st.sampled_from(words) | st.text(max_size=8)


@unhurried
@given(rows=st.lists(st.lists(cells, max_size=5), max_size=5))
def test_any_table_is_numbers_or_an_error(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "case.csv"
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        csv.writer(file).writerows([["slice", "jaccard", "dice"], *rows])

    def read() -> None:
        table = read_table(path, ("slice", "jaccard"))
        assert [str(kind) for kind in table.dtypes] == ["Int64", "float64", "float64"]
        assert len(table) == sum(bool(row) for row in rows)

    outcome_of(read, tmp_path)


# the fuzzer itself: that it sees what it is there to see


def test_a_clean_error_and_a_value_are_told_apart(tmp_path: Path) -> None:
    def refuse() -> None:
        raise UserError(f"{tmp_path}/scan.nii: no such file")

    assert outcome_of(refuse, tmp_path) == "error"
    assert outcome_of(lambda: 1, tmp_path) == "value"


def _raises(error: BaseException, cause: BaseException | None = None) -> Callable[[], None]:
    def read() -> None:
        raise error from cause

    return read


def _never_ends() -> None:
    while True:
        pass


def test_unclean_errors_are_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        outcome_of(_raises(ZeroDivisionError()), tmp_path)
    with pytest.raises(Wrong, match="names no file"):
        outcome_of(_raises(UserError("something is wrong")), tmp_path)
    with pytest.raises(Wrong, match="too much memory"):
        outcome_of(_raises(UserError(f"{tmp_path}: damaged"), MemoryError()), tmp_path)
    monkeypatch.setattr(fuzz_readers, "SECONDS_PER_CASE", 0.05)
    with pytest.raises(Hang):
        outcome_of(_never_ends, tmp_path)


def test_a_growth_of_resident_memory_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_readers, "_resident_bytes", iter((0, 100 << 20, 100 << 20)).__next__)
    with pytest.raises(Wrong, match="grew by 100 MB"):
        outcome_of(lambda: 1, tmp_path)


def test_a_case_is_made_again_from_its_number() -> None:
    for reader, make in fuzz_mutations.CASES.items():
        once, again = ([make(fuzz_readers.case_rng(reader, 1, case)) for case in range(20)] for _ in range(2))
        assert once == again, reader
        assert len({tuple(files.items()) for files in once}) > 15, reader


# in the form that runs each time, and in a longer one


def _fuzz_all(cases: int, seed: int, tmp_path: Path) -> None:
    for reader in READERS:
        report = fuzz(reader, 3600, seed, tmp_path / "findings", cases)
        assert report.findings == {}, f"{report.line()}\n{report.findings}"
        # both ends are reached, else the cases are not worth running
        assert sum(report.counts.values()) == cases
        assert report.counts["value"] > 0
        assert report.counts["error"] > 0


def test_a_short_fuzz_of_all_readers_finds_nothing(tmp_path: Path) -> None:
    """The workers' imports take most of the time."""
    _fuzz_all(50, 1, tmp_path)


@pytest.mark.slow
def test_a_longer_fuzz_of_all_readers_finds_nothing(tmp_path: Path) -> None:
    """After a change of a reader, give it minutes: python -m tests.fuzz_readers."""
    _fuzz_all(250, 2, tmp_path)
