"""The report on a run: measures of every matte, and the frames to check, as one page."""
