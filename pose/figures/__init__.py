"""Pictures: overlays and contact sheets, GIFs, box plots and other plots, and how a slice is turned upright."""
