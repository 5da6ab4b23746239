"""Scores: metrics of masks, surface distances, statistics of many values, paired comparisons, and which slices to look
at. What an empty slice means is defined here, once (``metrics``)."""
