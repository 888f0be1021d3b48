"""Frame to matte: which network runs at which size, refinement at full size, and steadiness over time."""
