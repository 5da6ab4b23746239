"""PyTorch without its rules for tensors without data, networks without random weights, and parts of torchvision: what
comes later finds all of it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pose.files.repository import REPOSITORY_FOLDER
from pose.segmenters.torch_import import without_random_weights

IMPORTED = (
    "import sys; from pose.segmenters.torch_import import SHAPE_RULES, import_torch; import_torch(); import torch"
)
TINY_FILE = "tiny_random.pt"
SAID = "print(SHAPE_RULES in sys.modules)"


def said_by(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("later", ["torch._decomp", "torch._prims", "torch._refs", "torch._dynamo"])
def test_who_relies_on_the_rules_gets_them(later):
    code = f"{IMPORTED}\n{SAID}\nimport {later}\n{SAID}\nprint({later}.__spec__.origin == {later}.__file__)\n"
    assert said_by(f"{code}import torch._decomp, torch._prims, torch._refs, torch._dynamo") == ["False", "True", "True"]


@pytest.mark.slow
def test_the_compiler_works_afterwards():
    code = (
        f"{IMPORTED}\n"
        "@torch.compile(backend='eager')\ndef doubled(x): return x * 2\n"
        "print(doubled(torch.ones(2)).tolist())\n"
        "with torch._subclasses.fake_tensor.FakeTensorMode():\n"
        "    large = torch.nn.functional.interpolate(torch.ones(1, 1, 4, 4), scale_factor=2, mode='bilinear')\n"
        "print(tuple(large.shape))"
    )
    assert said_by(code) == ["[2.0, 2.0]", "(1, 1, 8, 8)"]


def test_a_torch_that_is_there_stays_as_it_is():
    code = f"import torch; rules = torch._meta_registrations\n{IMPORTED}\nprint(torch._meta_registrations is rules)"
    assert said_by(code) == ["True"]


def test_layers_leave_their_weights_as_they_come_and_take_those_of_a_file():
    def layers() -> torch.nn.Module:
        linear = torch.nn.Linear(3, 2)
        torch.nn.init.trunc_normal_(linear.weight, std=0.02)
        return torch.nn.Sequential(linear, torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).eval()

    torch.manual_seed(0)
    usual, before = layers(), torch.random.get_rng_state()
    with without_random_weights():
        bare = layers()
    # nothing was drawn, but what is no random number is there
    assert torch.equal(torch.random.get_rng_state(), before)
    assert bare[2].weight.tolist() == [1, 1] and bare[2].running_var.tolist() == [1, 1]
    bare.load_state_dict(usual.state_dict())
    ones = torch.ones(1, 1, 3, 3)
    assert torch.equal(bare[2](bare[1](ones)), usual[2](usual[1](ones)))
    assert torch.equal(bare[0].weight, usual[0].weight) and bare[0].weight.requires_grad
    # afterwards layers are filled again
    torch.manual_seed(0)
    assert torch.equal(layers()[0].weight, usual[0].weight)


def test_the_models_of_sam_2_need_little_of_torchvision(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nimport numpy, torch\n"
        "from pose.segmenters.sam2.image import Sam2Image\nfrom pose.segmenters.sam2.memory import Sam2Memory\n"
        "from tests.networks import TINY, save_random_weights\n"
        f"path = save_random_weights(Path({str(tmp_path / TINY_FILE)!r}))\n"
        "for kind in (Sam2Memory, Sam2Image, Sam2Image):\n"
        "    model = kind(TINY, path, torch.device('cpu'))\n"
        "    print(sorted({'torchvision', 'torch.onnx', 'torch._dynamo'} & sys.modules.keys()))\n"
        "model.set_image(numpy.zeros((40, 50), numpy.uint8))\n"
        "from pose.segmenters.torchvision_import import import_torchvision\nimport_torchvision()\n"
        "import torchvision\nprint(torchvision.models.__name__)\n"
        "Sam2Image(TINY, path, torch.device('cpu')).set_image(numpy.zeros((40, 50), numpy.uint8))\n"
    )
    assert said_by(code) == ["[]", "[]", "[]", "torchvision.models"]
