"""One prompt for a data set: seeds on the command line, their memory as a file, and the seed patient in the results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

import nifti_to_numpy
import process_video
from pose import cli, segmenters
from pose.scans.phantom import chest_ct
from pose.segmenters import models
from tests.cases import DarkInBox, two_blocks, write_nifti, write_two_blocks
from tests.networks import TINY, save_random_weights
from tests.test_process_image import only


def run(*arguments) -> int:
    return cli.run_main(process_video.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save_random_weights(tmp_path_factory.mktemp("weights") / TINY.checkpoint)


@pytest.fixture()
def model(checkpoint, monkeypatch) -> list:
    """Flags that choose a tiny random SAM 2."""
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    return ["-b", "--checkpoint_file_path", checkpoint, "--precision", "fp32", "--device", "cpu"]


@pytest.fixture()
def patients(tmp_path) -> dict[str, tuple[Path, Path]]:
    """Three patients: the seed's two blocks, a crop of them, and noise of another shape."""
    scan, labels = two_blocks()
    noise = np.random.default_rng(1).integers(-900, 100, (31, 44, 6), dtype=np.int16)
    return {
        "a": write_two_blocks(tmp_path / "a", "a"),
        "b": (
            write_nifti(tmp_path / "b" / "b.nii.gz", scan[:, :26, 1:]),
            write_nifti(tmp_path / "b" / "b_mask.nii.gz", labels[:, :26, 1:]),
        ),
        "c": (
            write_nifti(tmp_path / "c" / "c.nii.gz", noise),
            write_nifti(tmp_path / "c" / "c_mask.nii.gz", (noise > 0).astype(np.uint8)),
        ),
    }


def flags_of(patients, names: str, masks: bool = True) -> list:
    images = [patients[name][0] for name in names]
    return ["-i", *images, *(["-m", *(patients[name][1] for name in names)] if masks else [])]


def masks_of(folder: Path) -> np.ndarray:
    return np.asanyarray(nibabel.load(only(folder, "masks_*.nii.gz")).dataobj)


def manifest_of(folder: Path) -> dict:
    return json.loads(only(folder, "run_*.json").read_text())


def test_one_prompt_segments_every_patient_and_marks_its_own(patients, model, tmp_path):
    image, masks = patients["a"]
    assert (
        run(
            *flags_of(patients, "abc"),
            *model,
            "--seed_image_file_path",
            image,
            "--seed_masks_file_path",
            masks,
            "--seed_slice",
            3,
            "-r",
            tmp_path / "out",
            "--objects",
            "per_label",
        )
        == 0
    )
    for name, own, masked in (("a", True, 4), ("b", False, 4), ("c", False, 6)):
        manifest = manifest_of(tmp_path / "out" / name)
        assert (manifest["prompts"], manifest["prompted_slices"], manifest["masked_slices"]) == (0, 0, masked)
        assert manifest["seed"]["seed_patient"] is own
        assert (manifest["prompts_used"], manifest["prompts_saved_percent"]) == (
            1,
            pytest.approx(100 * (1 - 1 / masked)),
        )
        seed = manifest["seed"]["seeds"][0]
        assert (seed["image"], seed["slice"]) == (str(image), 3)
        assert [entry["object_id"] for entry in seed["prompts"]] == [1, 2]
        assert masks_of(tmp_path / "out" / name).shape == nibabel.load(patients[name][0]).shape
        assert json.loads(only(tmp_path / "out" / name, "sam_prompts_*.json").read_text())["prompts"] == []


def test_the_seed_patient_is_known_in_another_format(patients, model, tmp_path):
    image, masks = patients["a"]
    same = tmp_path / "same.npz"
    assert nifti_to_numpy.main(["--input_file_path", str(image), "--output_file_path", str(same)]) == 0
    assert (
        run(
            "-i", same, *model, "--seed_image_file_path", image, "--seed_masks_file_path", masks, "-r", tmp_path / "out"
        )
        == 0
    )
    assert manifest_of(tmp_path / "out" / "same")["seed"]["seed_patient"] is True


def test_a_seed_memory_is_the_same_file_each_time(tmp_path):
    import torch
    from safetensors import safe_open

    from pose.segmenters.sam2 import seed_memory
    from pose.segmenters.sam2.memory_attention import Memory

    memory = Memory(torch.ones(1, 2, 3, 3, dtype=torch.bfloat16), torch.zeros(1, 4))
    for number in range(5):  # safetensors alone has 24 orders for this
        seed_memory.save_seed_memory(tmp_path / f"{number}", [seed_memory.SeedMemory({1: memory})], {"é": 1})
    assert len({(tmp_path / f"{number}").read_bytes() for number in range(5)}) == 1
    with safe_open(tmp_path / "0", "pt") as file:
        assert json.loads(file.metadata()["about"]) == {"é": 1}
        assert torch.equal(file.get_tensor("0.1.features"), memory.features)


def test_a_seed_memory_stands_for_image_and_prompt(patients, model, tmp_path):
    image, masks = patients["a"]
    seed = ["--seed_image_file_path", image, "--seed_masks_file_path", masks, "--seed_slice", "largest"]
    assert run(*flags_of(patients, "bc"), *model, *seed, "-r", tmp_path / "with_image") == 0
    memory = tmp_path / "kept" / "lungs.safetensors"
    assert run(*model, *seed, "--save_seed_memory", memory) == 0
    assert 0 < memory.stat().st_size < 100_000
    image.unlink()
    assert run(*flags_of(patients, "bc"), *model, "--seed_memory", memory, "-r", tmp_path / "with_memory") == 0
    for name in "bc":
        np.testing.assert_array_equal(
            masks_of(tmp_path / "with_memory" / name), masks_of(tmp_path / "with_image" / name)
        )
        with_memory, with_image = (
            manifest_of(tmp_path / kind / name)["seed"] for kind in ("with_memory", "with_image")
        )
        assert with_memory["seeds"] == with_image["seeds"] and with_memory["seed_memory"] == str(memory)


def test_a_memory_says_how_its_slices_were_shown_and_numbered(patients, model, tmp_path, capsys, caplog):
    image, masks = patients["a"]
    memory = tmp_path / "lungs.safetensors"
    seed = ["--seed_image_file_path", image, "--seed_masks_file_path", masks, "--save_seed_memory", memory]
    assert run(*model, *seed, "-w", "--objects", "per_label") == 0
    given = [*flags_of(patients, "b"), *model, "--seed_memory", memory]
    assert run(*given, "-w") == 2
    assert f"--objects union: {memory} was made with --objects per_label" in capsys.readouterr().err
    assert run(*given, "--objects", "per_label", "--window", "liver", "--swap_axes") == 0
    warned = [line for line in caplog.messages if "masks may be poor" in line]
    assert [line.split("was made with ")[1].split(" ")[0] for line in warned] == [
        "apply_windowing",
        "window",
        "swap_axes",
    ]


def test_a_seed_is_shown_in_a_window_of_its_own(patients, model, tmp_path, caplog):
    """Grey levels 0 to 255 that went through the lung window are the scan in Hounsfield units in that window."""
    scan, labels = two_blocks()
    grey = np.floor((np.clip(scan.astype(float), -1400, 100) + 1400) * 255 / 1500 + 0.5).astype(np.int16)
    image = write_nifti(tmp_path / "grey.nii.gz", grey)
    masks = write_nifti(tmp_path / "grey_mask.nii.gz", labels)
    volumes = [*flags_of(patients, "b"), *model]
    seed = ["--seed_image_file_path", patients["a"][0], "--seed_masks_file_path", patients["a"][1]]
    grey_seed = ["--seed_image_file_path", image, "--seed_masks_file_path", masks, "--seed_window", "127.5", "255"]
    assert run(*volumes, *seed, "-w", "-r", tmp_path / "hounsfield") == 0
    assert run(*volumes, *grey_seed, "-w", "-r", tmp_path / "grey") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "grey" / "b"), masks_of(tmp_path / "hounsfield" / "b"))
    assert manifest_of(tmp_path / "grey" / "b")["seed"]["seeds"][0]["grey_limits"] == [0, 255]
    assert run(*volumes, *grey_seed[:4], "-w", "-r", tmp_path / "other") == 0
    assert manifest_of(tmp_path / "other" / "b")["seed"]["seeds"][0]["grey_limits"] == [-1400, 100]
    memory = tmp_path / "lungs.safetensors"
    assert run(*model, *seed, "--seed_window", "lung", "--save_seed_memory", memory) == 0
    assert run(*volumes, "--seed_memory", memory, "-w", "-r", tmp_path / "memory") == 0
    assert not [line for line in caplog.messages if "masks may be poor" in line]


def test_the_seed_patient_is_known_with_its_axes_swapped(patients, model, tmp_path):
    image, masks = patients["a"]
    memory = tmp_path / "lungs.safetensors"
    assert (
        run(
            *model,
            "--swap_axes",
            "--seed_image_file_path",
            image,
            "--seed_masks_file_path",
            masks,
            "--save_seed_memory",
            memory,
        )
        == 0
    )
    assert run("-i", image, *model, "--seed_memory", memory, "-r", tmp_path / "out") == 0
    assert manifest_of(tmp_path / "out" / "a")["seed"]["seed_patient"] is True


def test_a_mistake_in_the_seeds_is_told_once_for_all_volumes(patients, model, tmp_path, capsys):
    memory = tmp_path / "none.safetensors"
    memory.write_bytes(b"memory")
    assert run(*flags_of(patients, "bc"), *model, "--seed_memory", memory) == 2
    assert capsys.readouterr().err.count("none.safetensors: cannot be read as a seed memory") == 1


def test_several_seeds_condition_together(patients, model, tmp_path):
    images, masks = zip(patients["a"], patients["b"])
    assert (
        run(
            *flags_of(patients, "c"),
            *model,
            "--seed_image_file_path",
            *images[:1],
            patients["b"][0],
            "--seed_masks_file_path",
            *masks[:1],
            patients["b"][1],
            "--seed_slice",
            3,
            2,
            "-r",
            tmp_path / "two",
        )
        == 0
    )
    seeds = manifest_of(tmp_path / "two" / "c")["seed"]["seeds"]
    assert [(Path(seed["image"]).name, seed["slice"]) for seed in seeds] == [("a.nii.gz", 3), ("b.nii.gz", 2)]
    one = ["--seed_image_file_path", patients["a"][0], "--seed_masks_file_path", patients["a"][1], "--seed_slice"]
    assert run(*flags_of(patients, "c"), *model, *one, 3, 5, "-r", tmp_path / "slices") == 0
    assert [seed["slice"] for seed in manifest_of(tmp_path / "slices" / "c")["seed"]["seeds"]] == [3, 5]
    assert run(*flags_of(patients, "c"), *model, *one, 3, "-r", tmp_path / "one") == 0
    results = [masks_of(tmp_path / kind / "c") for kind in ("one", "two", "slices")]
    assert not any(np.array_equal(results[0], other) for other in results[1:])


def test_a_prompt_file_is_the_seeds_prompt(patients, model, tmp_path):
    prompt = tmp_path / "prompt.json"
    prompt.write_text(
        '{"prompts": [{"slice": 3, "box": {"row_min": 4, "column_min": 6, "row_max": 13, "column_max": 19}}]}'
    )
    assert (
        run(
            *flags_of(patients, "b"),
            *model,
            "--seed_image_file_path",
            patients["a"][0],
            "--seed_prompt_file_path",
            prompt,
            "-r",
            tmp_path / "out",
            "--start_slice",
            1,
        )
        == 0
    )
    seed = manifest_of(tmp_path / "out" / "b")["seed"]["seeds"][0]
    assert seed["prompts"][0]["box"] == {"row_min": 4, "column_min": 6, "row_max": 13, "column_max": 19}


def test_a_memory_of_other_weights_or_another_size_is_refused(patients, model, tmp_path, monkeypatch, capsys):
    image, masks = patients["a"]
    memory = tmp_path / "lungs.safetensors"
    assert (
        run(*model, "--seed_image_file_path", image, "--seed_masks_file_path", masks, "--save_seed_memory", memory) == 0
    )
    other = save_random_weights(tmp_path / "other.pt", spec=replace(TINY, image_size=128), seed=1)
    given = [*flags_of(patients, "b"), "-b", "--device", "cpu", "--seed_memory", memory, "--checkpoint_file_path"]
    assert run(*given, other) == 2
    assert "lungs.safetensors: was made with checkpoint_sha256" in capsys.readouterr().err
    monkeypatch.setattr(models, "find_model", lambda *_: replace(TINY, image_size=256))
    assert run(*given, model[2]) == 2
    assert "was made with image_size 128, this run has 256" in capsys.readouterr().err
    monkeypatch.setattr(models, "find_model", lambda *_: replace(TINY, name="another"))
    assert run(*given, model[2]) == 2
    assert "was made with model tiny_random, this run has another" in capsys.readouterr().err
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    memory.write_bytes(memory.read_bytes()[:-100])
    assert run(*given, model[2]) == 2
    assert "lungs.safetensors: cannot be read as a seed memory" in capsys.readouterr().err
    assert not (patients["b"][0].parent / "results_video").exists()


SEED = ["--seed_image_file_path", "A"]
MASKS = ["--seed_masks_file_path", "A_MASK"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*SEED, *MASKS, "--method", "chain", "--start_slice", "2"],
            "--start_slice 2: chain with tiny_random finds the slice by itself; it is for sam2_memory",
        ),
        (
            [*SEED, *MASKS, "--method", "region_growing", "--start_slice", "auto"],
            "--start_slice auto: region_growing finds the slice by itself",
        ),
        ([*SEED], "give its prompt by either --seed_masks_file_path or --seed_prompt_file_path"),
        ([*MASKS], "needs --seed_image_file_path"),
        (["--seed_slice", "3"], "--seed_slice 3: needs --seed_image_file_path"),
        (["--seed_window", "40", "400"], "--seed_window 40 400: needs --seed_image_file_path"),
        ([*SEED, *MASKS, "--seed_window", "chest"], "--window chest: expected one of lung,"),
        (["--save_seed_memory", "x"], "--save_seed_memory x: needs --seed_image_file_path"),
        ([*SEED, *MASKS, "--seed_memory", "x"], "--seed_memory x: not together with --seed_image_file_path"),
        (["--seed_memory", "x"], "x: no such file"),
        ([*SEED, *MASKS, "--seed_slice", "0"], "slice 0 holds no label, the nearest one with a label is 2"),
        ([*SEED, "B", "C", *MASKS, "--seed_slice", "3", "4"], "--seed_slice: 2 given for 3 seeds; give 1 or 3"),
        ([*SEED, *MASKS, "--start_slice", "6"], "--start_slice 6 is not among its slices 0 to 5"),
        (["--start_slice", "2"], "--start_slice 2: without seeds"),
        ([*SEED, *MASKS, "--prompt_slice", "0"], "--prompt_slice 0: volumes have no prompt of their own beside seeds"),
        (
            [*SEED, *MASKS, "-s", "1", "--point", "2", "2"],
            "--point: not together with seeds, the prompt of a data set is its seed's alone",
        ),
        (["--method", "chain", "--stop_after", "3"], "--stop_after 3: chain with tiny_random has no such memory"),
        (["--method", "chain", "--cuda_graph"], "--cuda_graph: chain with tiny_random has no such memory"),
        (["--device", "cpu", "--cuda_graph"], "--cuda_graph: the device is cpu; it needs a GPU with CUDA"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(patients, model, capsys, arguments, message):
    paths = {"A": patients["a"][0], "A_MASK": patients["a"][1], "B": patients["b"][0], "C": patients["c"][0]}
    assert run(*flags_of(patients, "b"), *model, *(paths.get(word, word) for word in arguments)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (patients["b"][0].parent / "results_video").exists()


@pytest.fixture(scope="module")
def chests(tmp_path_factory) -> list[tuple[Path, Path]]:
    """Scans and masks of two phantoms, and of a third one that lies on its side and head down."""
    folder = tmp_path_factory.mktemp("chests")
    paths = []
    for number, (rows, columns, slices) in enumerate([(64, 64, 18), (72, 60, 24), (64, 64, 20)]):
        volume, labels = chest_ct((rows, columns, slices), number)
        voxels, labels = volume.voxels.swapaxes(0, 1), labels.swapaxes(0, 1)
        affine = volume.affine
        if number == 2:
            voxels, labels = (one.swapaxes(0, 1)[:, :, ::-1] for one in (voxels, labels))
            affine = affine[:, [1, 0, 2, 3]].copy()
            affine[:3, 3] += affine[:3, 2] * (slices - 1)
            affine[:3, 2] *= -1
        image = write_nifti(folder / f"{number}.nii.gz", voxels, affine)
        paths.append((image, write_nifti(folder / f"{number}_mask.nii.gz", (labels > 0).astype(np.uint8), affine)))
    return paths


def seed_flags(chest: tuple[Path, Path]) -> list:
    return ["--seed_image_file_path", chest[0], "--seed_masks_file_path", chest[1]]


def volume_flags(chests: list[tuple[Path, Path]]) -> list:
    images, masks = zip(*chests)
    return ["-i", *images, "-m", *masks]


def dice_of(folder: Path) -> float:
    return manifest_of(folder)["summary"]["objects"][0]["dice"]


@pytest.fixture()
def dark(monkeypatch, tmp_path) -> list:
    """Flags of a chain whose network finds what is dark in a box."""
    monkeypatch.setattr(segmenters, "build_slice_segmenter", lambda *_: DarkInBox())
    (tmp_path / "none.pth").write_bytes(b"weights")
    monkeypatch.setattr(models, "checkpoint_path", lambda *_: tmp_path / "none.pth")
    return ["--model", "lite_medsam", "--method", "chain", "--device", "cpu", "--precision", "fp32"]


@pytest.mark.parametrize("method", ["auto", "chain", "region_growing"])
def test_the_object_is_found_in_other_patients_without_a_memory(chests, dark, tmp_path, method):
    flags = ["--method", method] if method == "region_growing" else [*dark, "--method", method]
    given = [*volume_flags(chests[1:]), *flags, "-b", "-w", *seed_flags(chests[0])]
    assert run(*given, "-r", tmp_path / "out") == 0
    for name, masks in (("1", chests[1][1]), ("2", chests[2][1])):
        folder = tmp_path / "out" / name
        assert dice_of(folder) > 0.9
        manifest = manifest_of(folder)
        (placed,) = manifest["seed"]["placed"]
        assert (
            placed["score"] > (0.55 if method == "auto" else 0.6)
            and placed["correlation"] > 0.8
            and placed["seed"] == 0
        )
        # only the seed's slice was prompted by a person
        assert (manifest["prompts"], manifest["prompted_slices"], manifest["prompts_used"]) == (0, 0, 1)
        (prompt,) = json.loads(only(folder, "sam_prompts_*.json").read_text())["prompts"]
        assert prompt["slice"] == placed["slice"]
        assert nibabel.load(masks).get_fdata().any(axis=(0, 1))[prompt["slice"]]
        if method != "region_growing":
            assert (prompt["mask_file_path"], prompt["label"]) == (only(folder, "masks_*.nii.gz").name, 1)
        else:
            assert set(prompt["box"]) == {"row_min", "column_min", "row_max", "column_max"}


def test_the_prompt_that_was_found_gives_the_same_masks_again(chests, dark, tmp_path):
    image, masks = chests[1]
    found = ["-i", image, *dark, "-w", "-b", *seed_flags(chests[0]), "-r", tmp_path / "seed", "--debug"]
    assert run(*found) == 0
    prompts = only(tmp_path / "seed" / "1", "sam_prompts_*.json")
    assert run("-i", image, *dark, "-w", "--prompt_file_path", prompts, "-r", tmp_path / "again") == 0
    one, again = (masks_of(tmp_path / kind / "1") for kind in ("seed", "again"))
    assert one.any()
    np.testing.assert_array_equal(one, again)
    (debug,) = (tmp_path / "seed" / "1").glob("debug_*")
    only(debug, "slice_*_prompt_masks.nii.gz")
    prompt = only(debug, "slice_*_prompt.json")
    assert run("-i", image, *dark, "-w", "--prompt_file_path", prompt, "-r", tmp_path / "debug") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "debug" / "1"), one)


@pytest.mark.parametrize("method", ["chain", "region_growing"])
def test_a_placed_seed_is_kept_in_a_file(chests, dark, tmp_path, method, capsys):
    flags = [*(dark if method == "chain" else ["--method", method]), "-w"]
    memory = tmp_path / "lungs.safetensors"
    seed = ["-b", *seed_flags(chests[0])]
    assert run(*flags, *seed, "--save_seed_memory", memory) == 0
    volume = ["-i", chests[1][0], *flags]
    assert run(*volume, *seed, "-r", tmp_path / "image") == 0
    assert run(*volume, "--seed_memory", memory, "-r", tmp_path / "memory") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "memory" / "1"), masks_of(tmp_path / "image" / "1"))
    kept, made = (manifest_of(tmp_path / kind / "1")["seed"] for kind in ("memory", "image"))
    assert kept["placed"] == made["placed"] and kept["seeds"] == made["seeds"]
    other = ["--method", "region_growing"] if method == "chain" else dark
    assert run("-i", chests[1][0], *other, "--seed_memory", memory) == 2
    assert f"lungs.safetensors: was made with method {method}, this run has " in capsys.readouterr().err


def test_of_several_seeds_the_best_one_prompts(chests, dark, tmp_path):
    images, masks = zip(chests[0], chests[1])
    seeds = ["--seed_image_file_path", *images, "--seed_masks_file_path", *masks]
    assert run("-i", chests[1][0], *dark, "-w", "-b", *seeds, "-r", tmp_path / "out") == 0
    seed = manifest_of(tmp_path / "out" / "1")["seed"]
    # the second seed is the patient's own scan
    assert seed["placed"][0]["seed"] == 1 and seed["placed"][0]["correlation"] > 0.99 and seed["seed_patient"] is True


def test_an_object_that_is_not_there_is_doubted(chests, dark, tmp_path, capsys):
    """Lungs of tissue but for a tenth: the scan lies as the seed does, and little is dark where lungs should be."""
    image = nibabel.load(chests[1][0])
    voxels, lungs = np.asarray(image.dataobj).copy(), np.argwhere(nibabel.load(chests[1][1]).get_fdata() > 0)
    voxels[tuple(lungs[: len(lungs) * 9 // 10].T)] = 40
    full = write_nifti(tmp_path / "full.nii.gz", voxels, image.affine)
    assert run("-i", full, *dark, "-w", "-b", *seed_flags(chests[0]), "-r", tmp_path / "out") == 0
    manifest = manifest_of(tmp_path / "out" / "full")
    assert 0 < manifest["seed"]["placed"][0]["score"] < 0.5
    assert manifest["summary"]["warnings"][0]["kind"] == "doubtful_place"
    assert "full: warning: object 1: the object may not be in this scan (score 0." in capsys.readouterr().out


def test_volumes_start_where_the_seed_does(chests, model, tmp_path):
    """The slice that SAM 2's memory starts at, of a volume that runs from head to feet."""
    seed = [*seed_flags(chests[0]), "--seed_slice", 12]
    memory = tmp_path / "lungs.safetensors"
    assert run("-i", chests[2][0], *model, *seed, "--start_slice", "auto", "-r", tmp_path / "auto") == 0
    start = manifest_of(tmp_path / "auto" / "2")["seed"]["start_slice"]
    # slice 12 of 18 from the feet is as high as slice 13 of 20, which is 6 from the head
    assert abs(start - 6) <= 1
    assert run("-i", chests[2][0], *model, *seed, "--start_slice", start, "-r", tmp_path / "given") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "auto" / "2"), masks_of(tmp_path / "given" / "2"))
    assert run(*model, *seed, "--save_seed_memory", memory) == 0
    kept = ["--seed_memory", memory, "--start_slice", "auto", "-r", tmp_path / "memory"]
    assert run("-i", chests[2][0], *model, *kept) == 0
    assert manifest_of(tmp_path / "memory" / "2")["seed"]["start_slice"] == start


def test_a_volume_that_could_lie_in_several_ways_fails_by_itself(chests, tmp_path, capsys):
    x, y, z = np.meshgrid(*(np.arange(24) - 11.5,) * 2, np.arange(16) - 7.5, indexing="ij")
    ball = np.where(x**2 + y**2 + z**2 < 50, 40.0, -1000.0).astype(np.int16)
    np.save(tmp_path / "ball.npy", ball)
    given = ["-i", tmp_path / "ball.npy", "--method", "region_growing", "-b", "-w", *seed_flags(chests[0])]
    assert run(*given, "-r", tmp_path / "out") == 2
    assert "ball.npy: geometry unknown, and the best two ways to turn it correlate alike" in capsys.readouterr().err


def test_nothing_to_do_is_a_mistake(model, capsys):
    assert run(*model) == 2
    assert "--image_file_path: needed" in capsys.readouterr().err
