"""The composition route RSSN (Section 4 of the paper): its layers, its backgrounds, its samples."""
