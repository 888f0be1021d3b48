"""Frames to look at: what every matte of a run measures, and which frames stand out, as one page."""
