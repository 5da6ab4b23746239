"""Prompts: points, boxes and masks of objects on slices, read from JSON or taken from ground truth by the paper's
rules; and the regions of a mask that they are taken from."""
