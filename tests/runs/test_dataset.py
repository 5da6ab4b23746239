"""pose/runs/dataset.py: the settings of a data set, its volumes and their batches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pose.cli import UserError
from pose.runs.dataset import Settings, Volume, find_volumes, give_batches, read_list, read_settings, write_list

ROOT = Path(__file__).resolve().parents[2]
IMAGES = "data/{name}_ct.nii.gz"


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_example_is_read_and_says_what_it_says() -> None:
    settings = read_settings(yaml.safe_load((ROOT / "scripts" / "dataset.yaml").read_text()))
    assert settings == Settings(
        images="datasets/phantom/{name}_ct.nii.gz",
        masks="datasets/phantom/{name}_lungs.nii.gz",
        swap_axes=True,
        output_folder="working_data/phantom_workflow",
        model="lite_medsam",
        window=(("*", "lung"),),
        flags=("--use_bounding_box", "--objects", "per_label"),
        batch_size=10,
    )
    assert settings.process_arguments() == [
        "--swap_axes",
        "--model",
        "lite_medsam",
        "--use_bounding_box",
        "--objects",
        "per_label",
    ]


def test_every_setting_of_the_example_that_is_commented_out_is_one() -> None:
    lines = (ROOT / "scripts" / "dataset.yaml").read_text().splitlines()
    text = "\n".join(
        line.removeprefix("# ") for line in lines if line.split(":")[0].removeprefix("# ").strip().isidentifier()
    )
    config = yaml.safe_load(text)
    settings = read_settings({key: value for key, value in config.items() if key != "prompts"})
    assert settings.method == "region_growing" and settings.exclude == ("*_scout",)
    assert settings.window == (("coronacases_*", "lung"), ("*", ""))
    assert settings.seed["slice"] == "centre"
    assert settings.seed_arguments() == [
        "--seed_image_file_path",
        "datasets/phantom/chest_phantom_ct.nii.gz",
        "--seed_masks_file_path",
        "datasets/phantom/chest_phantom_lungs.nii.gz",
        "--seed_slice",
        "centre",
        "--seed_window",
        "lung",
    ]


def test_of_dicom_the_script_that_reads_the_scans_is_told_the_series() -> None:
    config = {"images": "dicom/{name}/CT", "series": 3, "suv": True, "model": "lite_medsam"}
    settings = read_settings(config)
    assert settings.dicom_arguments() == ["--series", "3", "--suv"]
    assert settings.process_arguments() == ["--model", "lite_medsam"]
    of_scans = read_settings({**config, "convert": False})
    assert of_scans.process_arguments() == ["--series", "3", "--suv", "--model", "lite_medsam"]
    touch("dicom/anna/CT/1.dcm", "dicom/bert/CT/1.dcm")
    assert [(one.name, one.image) for one in find_volumes(settings)] == [
        ("anna", "dicom/anna/CT"),
        ("bert", "dicom/bert/CT"),
    ]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "no settings; give --configfile"),
        ({"masks": IMAGES}, "images: missing"),
        ({"images": IMAGES, "colour": 1}, "colour: no such setting"),
        ({"images": "data/*.nii.gz"}, "images: data/*.nii.gz: has no {name}"),
        ({"images": "data/{name}.npz"}, "images: data/{name}.npz is working data already"),
        ({"images": [IMAGES]}, "images: a word is expected"),
        ({"images": IMAGES, "batch_size": 0}, "batch_size: 0 is not a count from 1"),
        ({"images": IMAGES, "batch_size": 1.5}, "batch_size: a whole number is expected, got 1.5"),
        ({"images": IMAGES, "gpu": -1}, "gpu: a whole number is expected, got -1"),
        ({"images": IMAGES, "threads": True}, "threads: a whole number is expected, got True"),
        ({"images": IMAGES, "convert": "no thanks"}, "convert: true or false is expected"),
        (
            {"images": IMAGES, "script": "process_sound"},
            "script: process_sound is none of process_video, process_image",
        ),
        ({"images": IMAGES, "flags": "--window 'lung"}, "flags: --window 'lung: No closing quotation"),
        ({"images": IMAGES, "exclude": "a"}, "exclude: a list is expected, got 'a'"),
        ({"images": IMAGES, "window": {"*": {}}}, "window: *: a word is expected"),
        ({"images": IMAGES, "seed": "a.nii"}, "seed: image, masks, slice, prompts, window are expected"),
        ({"images": IMAGES, "seed": {"images": "a"}}, "seed: images: no such setting of a seed"),
        (
            {"images": IMAGES, "seed": {"image": "a"}},
            "seed: an image is needed, and either masks or prompts; got image",
        ),
        (
            {"images": IMAGES, "script": "process_image", "seed": {"image": "a", "masks": "b"}},
            "seed: process_image has no use",
        ),
        (
            {"images": IMAGES, "prompts": "{name}.json", "seed": {"image": "a", "masks": "b"}},
            "prompts: {name}.json: not together",
        ),
    ],
)
def test_mistakes_are_named(config: dict, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read_settings(config)
    assert says in str(caught.value)


def test_names_come_from_files_or_folders_and_twice_the_same() -> None:
    touch(
        "data/anna/anna_ct.nii.gz",
        "data/bert/bert_ct.nii.gz",
        "data/bert/anna_ct.nii.gz",
        "data/.c/.c_ct.nii.gz",
        "x[1]/a.nii",
    )
    volumes = find_volumes(read_settings({"images": "data/{name}/{name}_ct.nii.gz"}))
    assert volumes == [Volume("anna", "data/anna/anna_ct.nii.gz"), Volume("bert", "data/bert/bert_ct.nii.gz")]
    assert [one.name for one in find_volumes(read_settings({"images": "./x[1]//{name}.nii"}))] == ["a"]


def test_masks_prompts_windows_and_what_is_left_out() -> None:
    touch(*(f"d/{name}_{what}" for name in ("a1", "a2", "b1") for what in ("ct.nii", "m.nii", "p.json")))
    settings = read_settings(
        {
            "images": "d/{name}_ct.nii",
            "masks": "d/{name}_m.nii",
            "prompts": "d/{name}_p.json",
            "exclude": ["a2"],
            "window": {"a*": [40, 400], "*": None},
        }
    )
    assert find_volumes(settings) == [
        Volume("a1", "d/a1_ct.nii", "d/a1_m.nii", "d/a1_p.json", "40 400"),
        Volume("b1", "d/b1_ct.nii", "d/b1_m.nii", "d/b1_p.json", ""),
    ]


def test_all_that_is_missing_is_named_at_once() -> None:
    touch("d/a_ct.nii", "d/b_ct.nii", "d/b_m.nii")
    settings = read_settings(
        {"images": "d/{name}_ct.nii", "masks": "d/{name}_m.nii", "prompts": "d/{name}.json", "window": {"a": "lung"}}
    )
    with pytest.raises(UserError) as caught:
        find_volumes(settings)
    assert str(caught.value) == (
        "masks: d/a_m.nii: no such file; prompts: d/a.json: no such file; prompts: d/b.json: no such file; "
        "window: no pattern fits b"
    )
    with pytest.raises(UserError, match=r"images: d/\{name\}_ct.nii: no such file, beside 2 that are excluded"):
        find_volumes(read_settings({"images": "d/{name}_ct.nii", "exclude": ["*"]}))
    touch(*(f"d/{number:02}_ct.nii" for number in range(20)))
    with pytest.raises(UserError, match="d/09_m.nii: no such file, and 11 more"):
        find_volumes(read_settings({"images": "d/{name}_ct.nii", "masks": "d/{name}_m.nii"}))


def volumes_of(*names: str, window: str = "") -> list[Volume]:
    return [Volume(name, f"{name}.nii", window=window) for name in names]


def batches(volumes: list[Volume]) -> dict[str, int]:
    return {one.name: one.batch for one in volumes}


def test_batches_hold_volumes_that_are_shown_alike() -> None:
    volumes = sorted([*volumes_of("a", "d", "e", window="lung"), *volumes_of("b", "c")], key=lambda one: one.name)
    assert batches(give_batches(volumes, 2)) == {"a": 1, "d": 1, "e": 2, "b": 3, "c": 3}


def test_volumes_stay_in_their_batch() -> None:
    before = give_batches(volumes_of(*"bcde"), 2)
    assert batches(before) == {"b": 1, "c": 1, "d": 2, "e": 2}
    after = give_batches(volumes_of(*"abdefg"), 2, before)
    assert batches(after) == {"a": 3, "b": 1, "d": 2, "e": 2, "f": 3, "g": 4}
    # a volume shown in another way than the others of its batch parts from them
    parted = give_batches([*volumes_of("b", window="lung"), *volumes_of(*"cde")], 2, before)
    assert batches(parted) == {"b": 3, "c": 4, "d": 2, "e": 2}


@given(
    st.lists(st.tuples(st.text("abcdef", min_size=1), st.sampled_from(["", "lung"])), unique_by=lambda one: one[0]),
    st.lists(st.tuples(st.text("abcdef", min_size=1), st.sampled_from(["", "lung"])), unique_by=lambda one: one[0]),
    st.integers(1, 4),
)
def test_batches_whatever_comes_and_goes(first: list, then: list, size: int) -> None:
    before = give_batches([Volume(name, name, window=window) for name, window in first], size)
    after = give_batches([Volume(name, name, window=window) for name, window in then], size, before)
    assert [one.name for one in after] == [name for name, _ in then]
    members: dict[int, list[Volume]] = {}
    for one in after:
        members.setdefault(one.batch, []).append(one)
    assert all(len(group) <= size and len({one.window for one in group}) == 1 for group in members.values())
    kept = {one.name: one for one in after}
    for one in before:
        mates = [kept[mate.name].window for mate in before if mate.batch == one.batch and mate.name in kept]
        if one.name in kept and len(set(mates)) == 1:
            assert kept[one.name].batch == one.batch


def test_the_list_comes_back_as_it_was_written(tmp_path: Path) -> None:
    volumes = [Volume('a "quoted", name', "data/ä b.nii", "m.nii", "", "40 400", 7), Volume("b", "b.nii", batch=8)]
    path = tmp_path / "new" / "volumes.csv"
    write_list(path, volumes)
    assert read_list(path) == volumes
    for text in ("name,image\na,b\n", "name,image,masks,prompts,window,batch\na,b,c,d,e,f\n", "\0"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"volumes.csv: no list of volumes and batches \(.*\); remove it"):
            read_list(path)


def test_the_engine_needs_none_of_the_project_s_packages() -> None:
    """Snakemake may live in an environment that has no numpy."""
    program = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; import pose.runs.dataset, "
        "pose.files.atomic"
    )
    subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"], check=True
    )
