"""Ways to segment, one file each, behind two protocols: one slice with its prompt, or a volume with few prompts.

Only this folder knows the conventions of SAM (x before y, RGB, logits). Outside it, points are (row, column), boxes are
(row_min, column_min, row_max, column_max) inclusive, slices are uint8 grey (rows, columns). ``models`` knows what
models there are; ``sam2/`` holds SAM 2's network and its memory.
"""

from pose.segmenters.protocols import Features, Finding, Prediction, SlicePredictions, SliceSegmenter, VolumeSegmenter
from pose.segmenters.slice_by_slice import build_slice_segmenter, segment_slices

__all__ = [
    "Features",
    "Finding",
    "Prediction",
    "SlicePredictions",
    "SliceSegmenter",
    "VolumeSegmenter",
    "build_slice_segmenter",
    "segment_slices",
]
