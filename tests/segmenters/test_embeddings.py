"""Encoded slices between runs: the same bits, no encoder on a second run, what misses, what goes first, damage."""

from __future__ import annotations

import json
import logging
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import process_image
import process_video
from pose import cli
from pose.cli import UserError
from pose.files.atomic import temporary_beside
from pose.prompts.prompt import Prompt
from pose.segmenters import models
from pose.segmenters.embeddings import EmbeddingsCache, model_key
from pose.segmenters.lite_medsam import LiteMedSam
from pose.segmenters.models import ModelSpec
from pose.segmenters.sam2.image import Sam2Image
from pose.segmenters.torchvision_import import import_torchvision
from tests.cases import write_two_blocks
from tests.networks import TINY, save_random_weights, small_sam
from tests.test_process_image import only

CPU = torch.device("cpu")
GREY = np.random.default_rng(0).integers(0, 255, (30, 50), dtype=np.uint8)
BOX = Prompt(0, 1, box=(4, 5, 25, 40))


def slice_of(value: int) -> np.ndarray:
    return np.full((4, 6), value, dtype=np.uint8)


def kilobytes(count: int) -> dict[str, torch.Tensor]:
    return {"a": torch.zeros(count * 1000, dtype=torch.uint8)}


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 4), max_size=4), dtype=st.sampled_from(TYPES), order=st.randoms(use_true_random=False)
)
def test_tensors_come_back_bit_by_bit_in_their_layout(tmp_path_factory, shape, dtype, order):
    axes = list(range(len(shape)))
    order.shuffle(axes)
    whole = torch.randn(shape).mul(100).to(dtype).permute(axes)
    tensors = {"whole": whole, "part": whole[..., :1] if shape else whole, "wide": torch.zeros(1).expand(3, 2)}
    cache = EmbeddingsCache(tmp_path_factory.mktemp("cache"), "model")
    assert cache.get(GREY) is None
    cache.put(GREY, tensors)
    found = cache.get(GREY)
    assert sorted(found) == sorted(tensors)
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(found[name]) == bits(tensor)
    assert found["whole"].is_contiguous() == whole.is_contiguous()
    assert (cache.hits, cache.misses) == (1, 1)


def test_values_that_equal_nothing_come_back(tmp_path):
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    cache = EmbeddingsCache(tmp_path, "model")
    cache.put(GREY, {"odd": odd, "layout": torch.randn(1, 3, 4, 5).to(memory_format=torch.channels_last)})
    found = cache.get(GREY)
    assert bits(found["odd"]) == bits(odd)
    assert found["layout"].is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_takes_half_the_room(tmp_path):
    cache = EmbeddingsCache(tmp_path, "model")
    for value, dtype in ((0, torch.float32), (1, torch.bfloat16)):
        cache.put(slice_of(value), {"a": torch.zeros(50_000, dtype=dtype)})
    sizes = [cache.path_of(slice_of(value)).stat().st_size for value in (0, 1)]
    assert sizes[0] - sizes[1] == pytest.approx(100_000, abs=100)


def test_what_makes_another_key(tmp_path):
    key = partial(model_key, "tiny", "ab", 1024, "fp32", CPU)
    others = [
        model_key("small", "ab", 1024, "fp32", CPU),
        model_key("tiny", "cd", 1024, "fp32", CPU),
        model_key("tiny", "ab", 512, "fp32", CPU),
        model_key("tiny", "ab", 1024, "bf16", CPU),
        model_key("tiny", "ab", 1024, "fp32", torch.device("cuda")),
        key("++model.num_maskmem=3"),
    ]
    cache = EmbeddingsCache(tmp_path, key())
    cache.put(GREY, kilobytes(1))
    for other in others:
        assert EmbeddingsCache(tmp_path, other).get(GREY) is None, other
    changed = GREY.copy()
    changed[-1, -1] ^= 1
    for grey in (changed, GREY.T, GREY.reshape(50, 30), GREY[:, ::-1], GREY[:-1]):
        assert cache.get(grey) is None
    assert cache.get(np.asfortranarray(GREY)) is not None
    assert model_key("tiny", "ab", 1024, "fp32", torch.device("cuda:1")) == others[4]


def test_use_without_a_model_is_a_bug_of_the_caller(tmp_path):
    with pytest.raises(RuntimeError, match="before its model_key was set"):
        EmbeddingsCache(tmp_path).get(GREY)


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = EmbeddingsCache(tmp_path, "model", limit_bytes=35_000)
    for value in (1, 2, 3):
        cache.put(slice_of(value), kilobytes(10))
        os.utime(cache.path_of(slice_of(value)), (value, value))
    assert cache.get(slice_of(1)) is not None  # now the one used last
    cache.put(slice_of(4), kilobytes(10))
    assert [cache.path_of(slice_of(value)).exists() for value in (1, 2, 3, 4)] == [True, False, True, True]
    cache.put(slice_of(5), kilobytes(10))
    assert [cache.path_of(slice_of(value)).exists() for value in (1, 2, 3, 4, 5)] == [True, False, False, True, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 35_000


def test_a_smaller_limit_holds_as_soon_as_the_folder_is_opened(tmp_path):
    cache = EmbeddingsCache(tmp_path, "model")
    for value in range(5):
        cache.put(slice_of(value), kilobytes(10))
    EmbeddingsCache(tmp_path, "model", limit_bytes=25_000)
    assert len(list(tmp_path.iterdir())) == 2


def test_two_processes_share_the_limit(tmp_path):
    """Neither writes as much as the limit; what the other wrote is noticed all the same."""
    one, other = (EmbeddingsCache(tmp_path, "model", limit_bytes=100_000) for _ in range(2))
    for value in range(0, 18, 2):
        one.put(slice_of(value), kilobytes(10))
        other.put(slice_of(value + 1), kilobytes(10))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 110_000


def test_a_slice_larger_than_the_limit_is_not_kept_and_evicts_nothing(tmp_path, caplog):
    cache = EmbeddingsCache(tmp_path, "model", limit_bytes=5_000)
    cache.put(slice_of(0), kilobytes(1))
    with caplog.at_level(logging.WARNING):
        cache.put(slice_of(1), kilobytes(10))
        cache.put(slice_of(2), kilobytes(10))
    assert [record.getMessage() for record in caplog.records] == [
        f"--embeddings_cache {tmp_path}: a slice takes 1.01e-05 GB, nothing is kept within 5e-06 GB"
    ]
    assert [path.name for path in tmp_path.iterdir()] == [cache.path_of(slice_of(0)).name]


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-500] ^= 4
    path.write_bytes(content)


def drop_the_metadata(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(kilobytes(1), path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(b"x" * 99)


@pytest.mark.parametrize("damage", [shorten, flip_a_bit, drop_the_metadata, empty, overwrite])
def test_a_damaged_file_counts_as_none_and_is_removed(tmp_path, caplog, damage):
    cache = EmbeddingsCache(tmp_path, "model")
    cache.put(GREY, kilobytes(1))
    path = cache.path_of(GREY)
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert cache.get(GREY) is None
    assert len(caplog.records) == 1 and caplog.records[0].getMessage().startswith(f"{path}: damaged, computed again (")
    assert not path.exists() and (cache.hits, cache.misses) == (0, 1)
    cache.put(GREY, kilobytes(1))
    assert torch.equal(cache.get(GREY)["a"], kilobytes(1)["a"])


def test_nothing_half_written_stays(tmp_path, monkeypatch, caplog):
    """A disk that is full once the file is there: the run goes on, without the cache."""
    cache = EmbeddingsCache(tmp_path, "model")
    with monkeypatch.context() as full:
        full.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        cache.put(GREY, kilobytes(1))
    cache.put(GREY, kilobytes(1))
    assert list(tmp_path.iterdir()) == []
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"--embeddings_cache {tmp_path}: can take nothing more "
        f"({cache.path_of(GREY)}: cannot be written: No space left on device)"
    ]


def test_a_file_of_another_user_is_a_hit_though_its_time_stays(tmp_path, monkeypatch, caplog):
    cache = EmbeddingsCache(tmp_path, "model")
    cache.put(GREY, kilobytes(1))
    monkeypatch.setattr(os, "utime", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    assert cache.get(GREY) is not None and caplog.records == []


def test_parts_of_a_process_that_died_are_removed_and_no_others(tmp_path):
    (tmp_path / ".part-old-slice.safetensors").write_bytes(b"half")
    with temporary_beside(tmp_path / "slice.safetensors") as at_work:
        assert EmbeddingsCache(tmp_path, "model", limit_bytes=1).folder == tmp_path
        assert list(tmp_path.iterdir()) == [at_work]


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"x" * 1000)
    EmbeddingsCache(tmp_path, "model", limit_bytes=10)
    assert (tmp_path / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_is_a_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match=f"--embeddings_cache {folder}: cannot be written") as caught:
            EmbeddingsCache(folder, "model")
        assert "\n" not in str(caught.value)


def sam2_tiny(folder: Path, precision: str):
    checkpoint = folder / TINY.checkpoint
    if not checkpoint.exists():
        save_random_weights(checkpoint)
    return lambda embeddings: Sam2Image(TINY, checkpoint, CPU, precision, embeddings)


def lite_medsam(folder: Path, precision: str):
    return lambda embeddings: LiteMedSam(None, CPU, precision, embeddings)


def of_small_sam(folder: Path, precision: str):
    import_torchvision()
    from segment_anything import sam_model_registry

    from pose.segmenters.sam import Sam

    sam_model_registry["small"] = small_sam
    torch.save(small_sam().state_dict(), folder / "random.pth")
    spec = ModelSpec("small", "sam", "small", "random.pth", 256)
    return lambda embeddings: Sam(spec, folder / "random.pth", CPU, precision, embeddings)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", [sam2_tiny, lite_medsam, of_small_sam])
def test_masks_are_those_without_a_cache_and_the_encoder_runs_once(tmp_path, family, precision):
    build = family(tmp_path, precision)
    plain = build(None)
    plain.set_image(GREY)
    expected = plain.predict(BOX)
    folder = tmp_path / "cache"
    of_another_shape = np.zeros((60, 20), dtype=np.uint8)
    for run, counts in (("first", (0, 2)), ("second", (2, 0))):
        cache = EmbeddingsCache(folder)
        segmenter = build(cache)
        if run == "second":
            segmenter._encode = None  # a call would fail
        segmenter.set_image(of_another_shape)
        segmenter.set_image(GREY)
        found = segmenter.predict(BOX)
        np.testing.assert_array_equal(found.logits, expected.logits)
        assert (found.score, found.object_score) == (expected.score, expected.object_score)
        assert (cache.hits, cache.misses) == counts


def test_another_precision_or_checkpoint_misses(tmp_path):
    folder = tmp_path / "cache"
    state, _ = models.load_weights(save_random_weights(tmp_path / "a.pt"))
    torch.save({"model": {key: value * 0.5 for key, value in state.items()}}, tmp_path / "b.pt")
    counts = []
    for name, precision in (("a.pt", "fp32"), ("a.pt", "bf16"), ("b.pt", "fp32"), ("a.pt", "fp32")):
        cache = EmbeddingsCache(folder)
        Sam2Image(TINY, tmp_path / name, CPU, precision, cache).set_image(GREY)
        counts.append((cache.hits, cache.misses))
    assert counts == [(0, 1), (0, 1), (0, 1), (1, 0)]


@pytest.mark.parametrize(("script", "more"), [(process_image, []), (process_video, ["--method", "chain"])])
def test_a_second_run_of_a_script_encodes_nothing(tmp_path, monkeypatch, script, more):
    image, masks = write_two_blocks(tmp_path)
    checkpoint = save_random_weights(tmp_path / TINY.checkpoint)
    monkeypatch.setattr(models, "find_model", lambda *_: TINY)
    encoded = []
    encode = Sam2Image._encode
    monkeypatch.setattr(Sam2Image, "_encode", lambda self, grey: encoded.append(grey.shape) or encode(self, grey))

    def run(name: str, *flags: str) -> tuple[dict, int]:
        """Return the manifest and how many slices were encoded."""
        encoded.clear()
        arguments = ["-i", image, "-m", masks, "-w", "-b", "--checkpoint_file_path", checkpoint, "-r", tmp_path / name]
        assert cli.run_main(script.main, [str(argument) for argument in [*arguments, *more, *flags]]) == 0
        return json.loads(only(tmp_path / name / "case", "run_*.json").read_text()), len(encoded)

    folder = tmp_path / "cache"
    plain, encoded_without = run("plain")
    first, encoded_first = run("first", "--embeddings_cache", str(folder))
    second, encoded_second = run("second", "--embeddings_cache", str(folder))
    assert "embeddings_cache" not in plain
    # slices of the blocks are alike, so that one encoding serves several of them
    assert 1 <= encoded_first == len(list(folder.iterdir())) < encoded_without
    hits = encoded_without - encoded_first
    assert first["embeddings_cache"] == {"folder": str(folder), "hits": hits, "misses": encoded_first}
    assert second["embeddings_cache"] == {"folder": str(folder), "hits": encoded_without, "misses": 0}
    assert encoded_second == 0
    written = [only(tmp_path / name / "case", "masks_*.nii.gz").read_bytes() for name in ("plain", "first", "second")]
    assert written[0] == written[1] == written[2]
    if script is process_image:  # a chain may reach further with other prompts
        assert run("per_label", "--embeddings_cache", str(folder), "--objects", "per_label")[1] == 0


def test_region_growing_refuses_it(tmp_path, capsys):
    image, masks = write_two_blocks(tmp_path)
    arguments = ["-i", str(image), "-m", str(masks), "--embeddings_cache", str(tmp_path / "cache")]
    assert cli.run_main(process_video.main, [*arguments, "--method", "region_growing"]) == 2
    assert capsys.readouterr().err == f"error: --embeddings_cache {tmp_path / 'cache'}: region_growing has no encoder\n"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("value", ["0", "-1", "much", "inf", "nan"])
def test_a_limit_that_is_none_is_refused(value, capsys):
    with pytest.raises(SystemExit) as left:
        process_image.main(["-i", "x", "--embeddings_cache_gb", value])
    assert left.value.code == 2 and "--embeddings_cache_gb" in capsys.readouterr().err
