"""LiteMedSAM with its real weights: boxes, masks, precision, speed-ups that change nothing, refusals."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from pose.cli import UserError
from pose.prompts.prompt import Prompt, prompts_from_mask
from pose.scans.intensity import WINDOWS, GreySlices, Intensity
from pose.scans.volume import read_volume
from pose.scores.metrics import dice, jaccard
from pose.segmenters import lite_medsam
from pose.segmenters.lite_medsam import (
    LiteMedSam,
    TiledEncoder,
    box_in_encoder_input,
    encoder_input,
    in_strips,
    load_model,
    resized_shape,
)
from pose.segmenters.models import checkpoint_path, find_model

PACKAGED_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


@pytest.fixture(scope="module")
def segmenter() -> LiteMedSam:
    return LiteMedSam()


@pytest.fixture(scope="module")
def segmenter_bf16() -> LiteMedSam:
    return LiteMedSam(precision="bf16")


@pytest.fixture(scope="module")
def encoded() -> tuple[LiteMedSam, np.ndarray, list[np.ndarray]]:
    """A segmenter of its own with one slice encoded, that slice and the two ellipses on it."""
    segmenter = LiteMedSam()
    grey, masks = ellipses((200, 256), (70, 90, 90, 110), (150, 205, 60, 60))
    segmenter.set_image(grey)
    return segmenter, grey, masks


def ellipses(shape: tuple[int, int], *places: tuple[int, int, int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a noisy grey slice with one bright ellipse for each (row, column, height, width), and their masks."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    masks = [
        ((rows - row) / (height / 2)) ** 2 + ((columns - column) / (width / 2)) ** 2 <= 1
        for row, column, height, width in places
    ]
    grey = np.random.default_rng(0).normal(60, 8, shape)
    for mask in masks:
        grey[mask] += 110
    return grey.clip(0, 255).astype(np.uint8), masks


def box_of(mask: np.ndarray, slice_index: int = 0) -> Prompt:
    """Return the prompt that is the box round a mask and nothing else."""
    prompt = prompts_from_mask(mask.astype(np.uint8), slice_index, use_bounding_box=True)[0]
    return Prompt(slice=slice_index, box=prompt.box)


def test_an_ellipse_is_found_to_its_edge(segmenter):
    grey, (mask,) = ellipses((300, 300), (140, 170, 90, 130))
    segmenter.set_image(grey)
    prediction = segmenter.predict(box_of(mask))
    assert dice(mask, prediction.mask) > 0.98
    assert prediction.mask.shape == (300, 300) and prediction.mask.dtype == bool
    assert prediction.logits.shape == (300, 300) and prediction.logits.dtype == np.float32
    assert np.array_equal(prediction.mask, prediction.logits > 0)
    assert 0.8 < prediction.score < 1.1
    assert prediction.object_score is None


@pytest.mark.parametrize("shape", [(120, 260), (260, 120)])
def test_rows_stay_rows_on_a_slice_that_is_not_square(segmenter, shape):
    # near one end of the longer side, where swapped axes would put the box off the slice or on nothing
    along = (22, 225, 24, 40) if shape[0] < shape[1] else (225, 22, 40, 24)
    other = (90, 60, 30, 40) if shape[0] < shape[1] else (60, 90, 40, 30)
    grey, (wanted, unwanted) = ellipses(shape, along, other)
    segmenter.set_image(grey)
    for mask in (wanted, unwanted):
        prediction = segmenter.predict(box_of(mask))
        assert prediction.mask.shape == shape
        assert dice(mask, prediction.mask) > 0.93


def test_box_becomes_x_y_edges_at_256_pixels():
    assert box_in_encoder_input((10, 20, 29, 59), (512, 512)) == [10.0, 5.0, 30.0, 15.0]
    assert box_in_encoder_input((10, 20, 29, 59), (100, 128)) == [40.0, 20.0, 120.0, 60.0]
    assert box_in_encoder_input((0, 0, 511, 255), (512, 256)) == [0.0, 0.0, 128.0, 256.0]


def test_slice_is_resized_scaled_and_padded():
    grey = np.full((100, 200), 50, dtype=np.uint8)
    grey[:50] = 250
    image = encoder_input(grey)
    assert resized_shape(grey.shape) == (128, 256)
    assert image.shape == (256, 256) and image.dtype == np.float32
    assert np.all(image[:60] == 1) and np.all(image[70:128] == 0) and np.all(image[128:] == 0)
    assert resized_shape((1, 4000)) == (1, 256)
    # a view with swapped axes is what a volume may give
    assert np.array_equal(encoder_input(grey.T), encoder_input(np.ascontiguousarray(grey.T)))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_slice_is_black_and_gives_finite_numbers(segmenter, segmenter_bf16, value):
    grey = np.full((40, 60), value, dtype=np.uint8)
    assert np.array_equal(encoder_input(grey), np.zeros((256, 256), np.float32))
    if value == 7:
        for one in (segmenter, segmenter_bf16):
            one.set_image(grey)
            prediction = one.predict(Prompt(slice=0, box=(5, 5, 20, 30)))
            assert prediction.mask.shape == (40, 60)
            assert np.isfinite(prediction.logits).all() and np.isfinite(prediction.score)


@pytest.mark.parametrize("at_once", [64, 128, 256, 10_000])
@pytest.mark.parametrize("stride", [1, 2])
def test_strips_give_what_the_whole_gives(at_once, stride):
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(5, 7, 3, stride=stride, padding=1).double()
    x = torch.randn(1, 32, 32, 5, dtype=torch.float64)

    def function(part: torch.Tensor) -> torch.Tensor:
        # the sine makes zero padding and a row of zeros differ
        return convolution((part + 0.5).sin().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    torch.testing.assert_close(in_strips(function, x, at_once, stride), function(x), rtol=0, atol=1e-12)


def test_the_tiled_encoder_changes_no_logit(encoded, monkeypatch):
    segmenter, grey, masks = encoded
    tiled = [segmenter.predict(box_of(mask)).logits for mask in masks]
    plain = load_model()[0].image_encoder
    with torch.inference_mode():
        embedding = plain(torch.from_numpy(encoder_input(grey)).expand(1, 3, 256, 256))
    monkeypatch.setattr(segmenter, "_embedding", embedding)
    for mask, logits in zip(masks, tiled, strict=True):
        expected = segmenter.predict(box_of(mask)).logits
        assert np.abs(expected).max() > 3
        assert np.abs(logits - expected).max() < 1e-4


def test_the_encoder_in_one_piece_agrees_with_the_one_in_tiles(encoded, monkeypatch):
    segmenter, grey, _ = encoded
    monkeypatch.setattr("pose.segmenters.lite_medsam.CPU_POSITIONS_AT_ONCE", 256 * 256)
    with torch.inference_mode():
        whole = segmenter._encoder(torch.from_numpy(encoder_input(grey)).expand(1, 3, 256, 256))
    assert (segmenter._embedding - whole).abs().max() < 1e-4


def test_batch_norms_are_gone(segmenter):
    assert isinstance(segmenter._encoder, TiledEncoder)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in segmenter._encoder.modules())


def test_a_processor_without_bfloat16_computes_products_in_float32_and_rounds_them(monkeypatch):
    monkeypatch.setattr(lite_medsam, "_has_bfloat16_products", lambda: False)
    torch.manual_seed(0)
    # their sums are exact in float32, and need more digits than bfloat16 has
    x, weight, bias = (torch.randint(-99, 99, shape).to(torch.bfloat16) for shape in ((30, 64), (20, 64), (20,)))
    found = lite_medsam._product(torch.nn.functional.linear, x, weight, bias)
    exact = x.double() @ weight.double().t() + bias.double()
    assert found.dtype == torch.bfloat16 and torch.equal(found, exact.to(torch.bfloat16))
    assert not torch.equal(found.double(), exact)


def test_bf16_gives_the_masks_of_fp32(encoded, segmenter_bf16):
    segmenter, grey, masks = encoded
    segmenter_bf16.set_image(grey)
    for mask in masks:
        exact, quick = segmenter.predict(box_of(mask)), segmenter_bf16.predict(box_of(mask))
        assert dice(exact.mask, quick.mask) >= 0.995
        assert quick.logits.dtype == np.float32
        assert quick.score == pytest.approx(exact.score, abs=0.02)
    assert {parameter.dtype for parameter in segmenter_bf16._encoder.parameters()} == {torch.float32, torch.bfloat16}


def test_several_boxes_cost_one_encoding(encoded, monkeypatch):
    segmenter, _, masks = encoded
    monkeypatch.setattr(segmenter, "_encoder", None)  # a second encoding would fail
    found = [segmenter.predict(box_of(mask)).mask for mask in masks]
    assert all(dice(mask, own) > 0.97 for mask, own in zip(masks, found, strict=True))
    assert not (found[0] & found[1]).any()


@pytest.mark.parametrize(("scores", "best"), [([0.2, 0.9, 0.4], 1), ([0.2, 0.3, 0.4], 2)])
def test_multimask_output_takes_the_best_by_score(encoded, monkeypatch, scores, best):
    segmenter = encoded[0]
    monkeypatch.setattr(segmenter, "_slice_shape", (128, 256))
    asked = []

    def decoder(multimask_output, **_):
        asked.append(multimask_output)
        logits = torch.full((1, 3, 256, 256), -1.0)
        for index in range(3):
            logits[0, index, 64 + 10 * index : 128] = 2.0
        logits[..., 128:, :] = 5.0  # padding, which must not show
        return logits, torch.tensor([scores])

    monkeypatch.setattr(segmenter, "_mask_decoder", decoder)
    prediction = segmenter.predict(Prompt(slice=0, box=(40, 60, 80, 130)), multimask_output=True)
    assert asked == [True]
    assert prediction.score == pytest.approx(scores[best])
    assert np.array_equal(prediction.mask.any(axis=1), np.arange(128) >= 64 + 10 * best)
    assert prediction.logits.max() == 2.0


def test_multimask_output_works_with_the_real_decoder(encoded):
    segmenter, _, masks = encoded
    single, best = (segmenter.predict(box_of(masks[0]), multimask_output=several) for several in (False, True))
    assert best.mask.shape == masks[0].shape
    assert best.score != single.score


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(slice=3, positive_points=((5, 5),)), "object 1 on slice 3 has points and no box"),
        (Prompt(slice=3, mask=np.ones((20, 30), bool)), "has a mask and no box"),
        (Prompt(slice=3, negative_points=((5, 5),), mask=np.ones((20, 30), bool)), "points and a mask and no box"),
        (Prompt(slice=3), "has nothing and no box"),
        (Prompt(slice=3, box=(0, 0, 20, 10)), r"box \(0, 0, 20, 10\) .* leaves its 20 rows and 30 columns"),
        (Prompt(slice=3, box=(0, 0, 10, 30)), "leaves its"),
        (Prompt(slice=3, box=(-1, 0, 10, 10)), "leaves its"),
        (Prompt(slice=3, box=(10, 0, 9, 10)), "leaves its"),
    ],
)
def test_what_is_not_a_box_on_the_slice_is_refused(segmenter, monkeypatch, prompt, message):
    monkeypatch.setattr(segmenter, "_slice_shape", (20, 30))
    monkeypatch.setattr(segmenter, "_embedding", torch.zeros(1, 256, 64, 64))
    with pytest.raises(UserError, match=message) as refusal:
        segmenter.predict(prompt)
    assert str(refusal.value).startswith("lite_medsam: ") and "\n" not in str(refusal.value)
    assert segmenter.prompt_kinds == {"box"}


def test_points_beside_a_box_are_reported_once_and_change_nothing(encoded, monkeypatch, caplog):
    segmenter, _, masks = encoded
    monkeypatch.setattr(segmenter, "_warned", False)
    box = box_of(masks[0]).box
    with_points = Prompt(slice=0, box=box, positive_points=((1, 1),), negative_points=((70, 90),))
    with caplog.at_level(logging.WARNING):
        alone = segmenter.predict(Prompt(slice=0, box=box))
        assert not caplog.records
        for _ in range(2):
            beside = segmenter.predict(with_points)
    assert np.array_equal(alone.logits, beside.logits)
    assert [record.getMessage() for record in caplog.records] == [
        "lite_medsam takes boxes only: points beside a box are not used"
    ]


def test_predict_before_set_image_is_a_bug_of_the_caller(segmenter, monkeypatch):
    monkeypatch.setattr(segmenter, "_embedding", None)
    with pytest.raises(RuntimeError, match="before set_image"):
        segmenter.predict(Prompt(slice=0, box=(1, 1, 5, 5)))


def test_unknown_precision_is_refused():
    with pytest.raises(UserError, match="precision 'fp8' is not one of fp32, bf16"):
        LiteMedSam(precision="fp8")


def test_packaged_weights_are_the_known_ones(segmenter):
    assert segmenter.checkpoint_sha256 == PACKAGED_SHA256 == find_model("lite_medsam").sha256


def test_weights_under_the_published_name_with_another_hash_are_refused(tmp_path):
    content = bytearray(checkpoint_path(find_model("lite_medsam")).read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "lite_medsam.pth"
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=f"^{damaged}: SHA-256 is .* published lite_medsam.pth is {PACKAGED_SHA256}"):
        LiteMedSam(damaged)


def test_weights_of_ones_own_are_taken_if_they_fit(tmp_path, encoded):
    segmenter, grey, masks = encoded
    weights = torch.load(checkpoint_path(find_model("lite_medsam")), weights_only=True)
    own = tmp_path / "fine_tuned.pth"
    weights["mask_decoder.iou_prediction_head.layers.2.bias"] += 1.0
    torch.save({"model": weights, "epoch": 3}, own)
    tuned = LiteMedSam(own)
    tuned.set_image(grey)
    scores = [one.predict(box_of(masks[0])).score for one in (segmenter, tuned)]
    assert scores[1] - scores[0] == pytest.approx(1.0, abs=1e-5)
    assert tuned.checkpoint_sha256 != PACKAGED_SHA256

    del weights["image_encoder.neck.0.weight"]
    torch.save(weights, own)
    with pytest.raises(UserError, match=f"{own}: .*lacks image_encoder.neck.0.weight"):
        LiteMedSam(own)
    with pytest.raises(UserError, match="nowhere.pth: no such file"):
        LiteMedSam(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(("slice_index", "union", "per_label"), [(98, 0.957, 0.960), (122, 0.986, 0.989)])
def test_lungs_of_a_real_scan(real_data: Path, segmenter, segmenter_bf16, slice_index, union, per_label):
    folder = real_data / "ct_slices"
    scan = read_volume(folder / f"coronacases_001_image_slice_{slice_index}.npy", swap_axes=True)
    labels = read_volume(folder / f"coronacases_001_masks_slice_{slice_index}.npy", swap_axes=True).voxels[:, :, 0]
    grey = GreySlices(scan, Intensity(WINDOWS["lung"]))[0]
    lungs = labels > 0
    prompts = [box_of(labels == label) for label in (1, 2)]
    segmenter.set_image(grey)
    together = segmenter.predict(box_of(lungs)).mask
    apart = [segmenter.predict(prompt).mask for prompt in prompts]
    assert jaccard(lungs, together) == pytest.approx(union, abs=0.005)
    assert jaccard(lungs, apart[0] | apart[1]) == pytest.approx(per_label, abs=0.005)
    segmenter_bf16.set_image(grey)
    assert dice(together, segmenter_bf16.predict(box_of(lungs)).mask) >= 0.995
    for exact, prompt in zip(apart, prompts, strict=True):
        assert dice(exact, segmenter_bf16.predict(prompt).mask) >= 0.995
