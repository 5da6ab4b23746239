"""SAM 2 and 2.1 (Ravi et al., 2024) on single slices, and the building of a SAM 2 network from its configuration."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pose.prompts.prompt import Prompt
from pose.segmenters.embeddings import EmbeddingsCache, model_key, recalled
from pose.segmenters.models import ModelSpec, Network, fill_weights, load_weights, without_random_weights
from pose.segmenters.protocols import Features, Prediction, features_on
from pose.segmenters.sam2.slice_encoder import LEVELS, SliceEncoder
from pose.segmenters.sam_inputs import mask_logits, predict_with, wait_for
from pose.segmenters.torchvision_import import import_torchvision

MEMORY_WEIGHTS = (
    "memory_attention",
    "memory_encoder",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj",
    "obj_ptr_tpos_proj",
    "mask_downsample",
)
OBJECT_SCORE_WEIGHTS = ("sam_mask_decoder.pred_obj_score_head", "sam_mask_decoder.obj_score_token")


def build_network(
    spec: ModelSpec, checkpoint: Path, device: torch.device, video: bool = False
) -> tuple[Network, set[str], str]:
    """Build a SAM 2 network and load its weights.

    A checkpoint may lack the weights of the memory or of the object score: enough to segment slices.

    Args:
        video: build sam2's video predictor, with the settings that the published procedure uses.

    Returns:
        The network on ``device``, the optional parts that the checkpoint lacks, and its SHA-256.

    Raises:
        pose.cli.UserError: the checkpoint is damaged or of another model.
    """
    from sam2.build_sam import build_sam2, build_sam2_video_predictor

    state, digest = load_weights(checkpoint)
    build = build_sam2_video_predictor if video else build_sam2
    overrides = [f"++model.image_size={spec.image_size}", *spec.overrides]
    with without_random_weights():
        network = build(spec.config, None, device="cpu", hydra_overrides_extra=overrides)
    lacking = fill_weights(network, state, checkpoint, optional=MEMORY_WEIGHTS + OBJECT_SCORE_WEIGHTS)
    if lacking.intersection(OBJECT_SCORE_WEIGHTS):
        # the token of the score stands beside those of the masks: untrained, it would change them at random
        network.sam_mask_decoder.pred_obj_scores = False
    return network.to(device).eval(), lacking, digest


class Sam2Image:
    """A slice segmenter; see :class:`pose.segmenters.SliceSegmenter`."""

    prompt_kinds = frozenset({"points", "box", "mask"})

    def __init__(
        self,
        spec: ModelSpec,
        checkpoint: Path,
        device: torch.device,
        precision: str = "fp32",
        embeddings: EmbeddingsCache | None = None,
    ):
        """Load the weights in ``checkpoint``; slices that ``embeddings`` holds are not encoded again.

        Raises:
            pose.cli.UserError: the checkpoint is damaged or of another model.
        """
        network, lacking, self.checkpoint_sha256 = build_network(spec, checkpoint, device)
        self.name = spec.name
        self.device = device
        self.precision = precision
        self._network = network
        with torch.inference_mode():
            self._encoder = SliceEncoder(network, device, precision)
        self._mask_size = network.image_size // 4
        import_torchvision()
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        with warnings.catch_warnings():
            # sam2 compiles how it resizes a slice
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
            self._predictor = SAM2ImagePredictor(network)
        self._embeddings = embeddings
        if embeddings is not None:
            what = spec.name, self.checkpoint_sha256, spec.image_size, precision, device
            embeddings.model_key = model_key(*what, "slice", spec.config, *spec.overrides)
        self._object_score: float | None = None
        if not lacking.intersection(OBJECT_SCORE_WEIGHTS):
            network.sam_mask_decoder.register_forward_hook(self._keep_object_score)

    def _keep_object_score(self, module: torch.nn.Module, inputs: object, outputs: Sequence[torch.Tensor]) -> None:
        self._object_score = float(outputs[3].float().flatten()[0])

    @torch.inference_mode()
    def set_image(self, grey: np.ndarray) -> None:
        """Encode one slice, (rows, columns) uint8, or take up what was kept of it."""
        tensors = recalled(self._embeddings, grey, self._encode, self.device)
        top = tensors["stride_16"].float()
        if self._network.directly_add_no_mem_embed:
            top = top + self._network.no_mem_embed[0, 0, :, None, None]
        # the mask decoder costs little, and in float32 the contours of small objects stay what they are
        fine = [tensors["stride_4"].float(), tensors["stride_8"].float()]
        self._predictor._features = {"image_embed": top, "high_res_feats": fine}
        self._predictor._orig_hw = [grey.shape]
        self._predictor._is_image_set = True
        wait_for(self.device)

    def _encode(self, grey: np.ndarray) -> dict[str, torch.Tensor]:
        frame = self._predictor._transforms(np.repeat(grey[..., None], 3, axis=2))
        return dict(zip(LEVELS, self._encoder.encode_frames(frame[None])))

    @torch.inference_mode()
    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Segment the prompted object on the slice set last."""
        mask_input = None if prompt.mask is None else mask_logits(prompt.mask, self._mask_size, keep_aspect=False)
        prediction = predict_with(self._predictor, prompt, mask_input, multimask_output)
        return Prediction(prediction.mask, prediction.score, self._object_score, prediction.logits)

    def features(self) -> Features:
        """Return what the encoder made of the slice set last, (256, rows, columns): it sees slices as squares."""
        return features_on(self._predictor._features["image_embed"][0].cpu().numpy(), (1.0, 1.0))
