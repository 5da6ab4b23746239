"""Segment Anything (Kirillov et al., ICCV 2023) on single slices: vit_b, vit_l, vit_h."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pose.prompts.prompt import Prompt
from pose.segmenters.embeddings import EmbeddingsCache, model_key, recalled
from pose.segmenters.models import ModelSpec, fill_weights, load_weights, without_random_weights
from pose.segmenters.protocols import Features, Prediction, features_on
from pose.segmenters.sam_inputs import autocast, cast_weights_once, mask_logits, predict_with, wait_for
from pose.segmenters.torchvision_import import import_torchvision


class Sam:
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
        import_torchvision()
        from segment_anything import SamPredictor, sam_model_registry

        state, self.checkpoint_sha256 = load_weights(checkpoint)
        with without_random_weights():
            model = sam_model_registry[spec.config]()
        fill_weights(model, state, checkpoint)
        model.to(device).eval()
        if precision == "bf16":
            cast_weights_once(model.image_encoder)
        self.name = spec.name
        self.device = device
        self.precision = precision
        self._predictor = SamPredictor(model)
        self._embeddings = embeddings
        if embeddings is not None:
            what = spec.name, self.checkpoint_sha256, spec.image_size, precision, device
            embeddings.model_key = model_key(*what, "slice", spec.config)

    @torch.inference_mode()
    def set_image(self, grey: np.ndarray) -> None:
        """Encode one slice, (rows, columns) uint8, or take up what was kept of it."""
        predictor = self._predictor
        features = recalled(self._embeddings, grey, self._encode, self.device)["features"]
        predictor.original_size = grey.shape
        predictor.input_size = predictor.transform.get_preprocess_shape(*grey.shape, predictor.transform.target_length)
        # the mask decoder adds float32 embeddings in place and fails on bfloat16 features
        predictor.features = features.float()
        predictor.is_image_set = True
        wait_for(self.device)

    def _encode(self, grey: np.ndarray) -> dict[str, torch.Tensor]:
        with autocast(self.device, self.precision):
            self._predictor.set_image(np.repeat(grey[..., None], 3, axis=2))
        return {"features": self._predictor.features}

    @torch.inference_mode()
    def predict(self, prompt: Prompt, multimask_output: bool = False) -> Prediction:
        """Segment the prompted object on the slice set last."""
        mask_input = None if prompt.mask is None else mask_logits(prompt.mask, 256, keep_aspect=True)
        return predict_with(self._predictor, prompt, mask_input, multimask_output)

    def features(self) -> Features:
        """Return what the encoder made of the slice set last, (256, rows, columns)."""
        predictor = self._predictor
        rows, columns = predictor.input_size
        side = predictor.transform.target_length
        return features_on(predictor.features[0].cpu().numpy(), (rows / side, columns / side))
