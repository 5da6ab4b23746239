"""The benchmark of how much of a machine the networks use: what it counts, and its table."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from comparison.benchmarks import limit
from pose import cli
from pose.segmenters.sam2.slice_encoder import SliceEncoder
from tests.networks import TINY, random_network, save_random_weights

CPU = torch.device("cpu")
SLICES = 3


@pytest.fixture(scope="module")
def watch(tmp_path_factory) -> limit.Watch:
    weights = save_random_weights(tmp_path_factory.mktemp("weights") / TINY.checkpoint)
    watch = limit.Watch(CPU, turns=2, top=2)
    with torch.inference_mode():
        limit.measure_memory(watch, SLICES, CPU, "fp32", TINY, weights)
    return watch


def test_each_stage_is_counted_timed_and_profiled(watch):
    assert list(watch.stages) == [limit.ENCODER, limit.ATTENTION, limit.WHOLE]
    assert [stage.calls for stage in watch.stages.values()] == [[SLICES] * 2, [SLICES - 1] * 2, [1, 1]]
    for turn in range(2):
        parts = sum(watch.stages[name].turns[turn] for name in (limit.ENCODER, limit.ATTENTION))
        assert 0 < parts < watch.stages[limit.WHOLE].turns[turn]
    for name in (limit.ENCODER, limit.ATTENTION):
        shares = [share for _, share in watch.stages[name].shares]
        assert len(shares) == 2 and 0 < shares[1] <= shares[0] and sum(shares) <= 1
    assert watch.stages[limit.WHOLE].shares == ()


def test_the_operations_of_the_encoder_are_those_of_each_slice(watch):
    encoder = SliceEncoder(random_network(), CPU, "fp32")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        encoder._encoder(torch.zeros(1, 3, TINY.image_size, TINY.image_size))
    assert watch.stages[limit.ENCODER].operations == SLICES * counter.get_total_flops() > 0
    stages = watch.stages
    together = stages[limit.ENCODER].operations + stages[limit.ATTENTION].operations
    assert together < stages[limit.WHOLE].operations


def test_a_product_of_matrices_is_counted_as_twice_its_multiplications(monkeypatch):
    watch = limit.Watch(CPU)
    watch.over("product", torch.mm)(torch.ones(3, 5), torch.ones(5, 7))
    assert watch.stages["product"].operations == 2 * 3 * 5 * 7
    monkeypatch.setattr(limit, "LEAST_SECONDS", 0.01)
    assert limit.best_product(CPU, torch.float32, (32,)) > 0


def test_a_row_by_hand():
    watch = limit.Watch(CPU)
    watch.stages["image encoder"] = limit.Stage(operations=8_000_000_000, turns=[0.7, 0.5], calls=[4, 4])
    rows = limit.rows_of("net", watch, 4, limit=64e9)
    assert rows == ["| net | image encoder | 2.0 | 125.0 | 16.0 | 25 % |"]


def test_the_table_names_the_limit(monkeypatch, capsys):
    products = []
    monkeypatch.setattr(limit, "best_product", lambda device, kind: products.append(kind) or 1e15 * len(products))
    assert limit.main(["--models", "lite_medsam", "--slices", "1", "--device", "cpu", "--precision", "fp32"]) == 0
    printed = capsys.readouterr().out
    kind = "bfloat16" if products[0] == torch.bfloat16 else "float32"
    assert f"the best product of matrices, in {kind}: 2000000.0 GFLOP/s (1000000.0 before)" in printed
    assert [line.split(" | ")[1] for line in printed.splitlines()[4:]] == [limit.ENCODER, limit.WHOLE]


def test_the_first_sam_is_refused(capsys):
    assert cli.run_main(limit.main, ["--models", "vit_b"]) == 2
    assert capsys.readouterr().err == "error: --models vit_b: is neither LiteMedSAM nor a SAM 2\n"
