"""Auto: each object by region growing where that and the network agree on what it is, and else by the chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pose.prompts.prompt import Prompt
from pose.prompts.reach import is_pointing
from pose.scans.intensity import GreyStack
from pose.segmenters.chain import Chain
from pose.segmenters.mask_parts import overlap_of_masks
from pose.segmenters.protocols import Finding, Prediction, SlicePredictions
from pose.segmenters.region_growing import RegionGrowing, prompted_region

AGREEMENT = 0.85  # Dice of both masks on a prompted slice, from which on they mean the same object
LARGEST_GROWTH = 2.0  # times its prompted area that a grown object may have on any slice


class Auto:
    """Segments the prompted slices with the network, and grows regions from the same prompts.

    An object is taken from region growing where, on its prompted slices, this agrees with the network, and where it
    has not leaked: no slice holds more than twice the area of the largest prompted one. Region growing then has the
    better contours, as in lungs. All other objects are carried by the chain.

    Attributes:
        findings: what was learnt of each object of the volume segmented last, beside its masks.
    """

    def __init__(self, chain: Chain, growing: RegionGrowing):
        self.chain = chain
        self.growing = growing
        self.name = chain.name
        self.prompt_kinds = chain.prompt_kinds
        self.findings: dict[int, Finding] = {}

    def segment(self, grey: GreyStack, prompts: Sequence[Prompt]) -> Iterator[SlicePredictions]:
        """Yield the predictions of every slice, once.

        Raises:
            UserError: as :meth:`pose.segmenters.chain.Chain.segment`.
        """
        starts, begun = self.chain.start(grey, prompts)
        self.findings = self.chain.findings
        areas: dict[int, int] = {}
        alike = {object_id for object_id, _ in starts}
        for (object_id, slice_index), track in starts.items():
            mask = np.zeros(grey.shape[:2], dtype=bool) if track is None else track.mask
            areas[object_id] = max(int(mask.sum()), areas.get(object_id, 0))
            own = [one for one in prompts if (one.object_id, one.slice) == (object_id, slice_index)]
            region = [prompted_region(grey[slice_index], one) for one in own if is_pointing(one)]
            # before the whole volume is grown for nothing; what is connected to the prompt may only be less
            alone = track is not None and track.by_grey_levels  # what they gave twice is no agreement
            if alone or overlap_of_masks(np.any(region, axis=0), mask) < AGREEMENT:
                alike.discard(object_id)
        grown = self._grown(grey, prompts, alike, areas, begun)
        rest = {key: track for key, track in starts.items() if key[0] not in grown}
        of_chain = {slice_index: _without(one, grown) for slice_index, one in begun.items()}
        carried = (
            self.chain.carry(grey, [one for one in prompts if one.object_id not in grown], rest, of_chain)
            if rest
            else (begun.get(slice_index, SlicePredictions(slice_index)) for slice_index in range(len(grey)))
        )
        for found in carried:
            of_network = begun[found.slice].objects if found.slice in begun else {}
            objects = dict(found.objects)
            for object_id, slices in grown.items():
                mask = np.unpackbits(slices[found.slice], count=grey.shape[0] * grey.shape[1])
                mask = mask.reshape(grey.shape[:2]).astype(bool)
                if found.slice not in begun:  # there the network's own mask was compared
                    for (key, _), track in starts.items():
                        if key == object_id and track is not None:
                            self.findings[key].compare(track.views.pixels(found.slice, mask))
                said = of_network.get(object_id, Prediction(mask))
                objects[object_id] = replace(said, mask=mask, logits=None)
                for other in objects.keys() - grown.keys():
                    objects[other] = replace(objects[other], mask=objects[other].mask & ~mask)
            yield replace(found, objects=dict(sorted(objects.items())))

    def _grown(
        self,
        grey: GreyStack,
        prompts: Sequence[Prompt],
        alike: set[int],
        areas: dict[int, int],
        begun: dict[int, SlicePredictions],
    ) -> dict[int, list[np.ndarray]]:
        """Return the objects to take from region growing: for each its masks by slice, packed to bits."""
        if not alike:
            return {}
        kept: dict[int, list[np.ndarray]] = {object_id: [] for object_id in alike}
        agreed: dict[int, float] = dict.fromkeys(alike, 1.0)
        leaked: set[int] = set()
        for found in self.growing.segment(grey, [one for one in prompts if one.object_id in alike]):
            for object_id in alike:
                mask = found.objects[object_id].mask
                kept[object_id].append(np.packbits(mask))
                if mask.sum() > LARGEST_GROWTH * areas[object_id]:
                    leaked.add(object_id)
                if found.slice in begun and object_id in begun[found.slice].objects:
                    of_network = begun[found.slice].objects[object_id].mask
                    agreed[object_id] = min(agreed[object_id], overlap_of_masks(mask, of_network))
        chosen = {}
        for object_id in alike:
            self.findings[object_id].methods_agreement = agreed[object_id]
            if agreed[object_id] >= AGREEMENT and object_id not in leaked:
                self.findings[object_id].method = "region_growing"
                chosen[object_id] = kept[object_id]
        return chosen


def _without(predictions: SlicePredictions, objects: dict[int, list[np.ndarray]]) -> SlicePredictions:
    kept = {object_id: one for object_id, one in predictions.objects.items() if object_id not in objects}
    return replace(predictions, objects=kept)
