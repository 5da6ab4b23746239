"""Make weights for benchmarks of SAM 2's memory where the published ones are not at hand: random (seeded), or completed
by random ones.

With --image_weights all weights that the file has are taken from it, and only the others are random: a checkpoint
without memory becomes one with a memory that has learnt nothing. Masks mean nothing then; time, memory and rounding are
those of the real network. In untrained heads the three masks of the decoder have scores that differ by less than any
rounding, and objects are as likely absent as present: two biases are raised so that one mask wins and the object is
there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT_ROOT))

from pose import cli
from pose.segmenters import models

SURE_OBJECT, SURE_MASK = 5.0, 2.0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="2.1_tiny", help="a SAM 2 (default: %(default)s)")
    parser.add_argument("--image_weights", type=Path, metavar="FILE", help="weights without memory, to be completed")
    parser.add_argument("--seed", type=cli.whole_number, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument("-o", "--output_file_path", type=Path, required=True, metavar="FILE", help="the checkpoint")
    return parser


def make_weights(path: Path, spec: models.ModelSpec, image_weights: Path | None = None, seed: int = 0) -> Path:
    """Write seeded random weights of a model, those in ``image_weights`` in place of theirs."""
    import torch
    from sam2.build_sam import build_sam2

    torch.manual_seed(seed)
    network = build_sam2(spec.config, None, device="cpu", hydra_overrides_extra=list(spec.overrides))
    state = network.state_dict()
    known = {} if image_weights is None else models.load_weights(image_weights)[0]
    for key, value in known.items():
        if key not in state or state[key].shape != value.shape:
            raise cli.UserError(f"{image_weights}: is of another model than {spec.name}: {key}")
    state.update(known)
    for head, index, bias in (("pred_obj_score_head", 0, SURE_OBJECT), ("iou_prediction_head", 1, SURE_MASK)):
        last = max(key for key in state if key.startswith(f"sam_mask_decoder.{head}") and key.endswith("bias"))
        if last not in known:
            state[last] = state[last].clone()
            state[last][index] += bias
    torch.save({"model": state}, path)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Write the checkpoint."""
    arguments = make_parser().parse_args(argv)
    spec = models.find_model(arguments.model, 2)
    make_weights(arguments.output_file_path, spec, arguments.image_weights, arguments.seed)
    print(arguments.output_file_path)
    return cli.EXIT_OK


if __name__ == "__main__":
    sys.exit(cli.run_main(main))
