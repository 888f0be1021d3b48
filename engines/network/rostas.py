"""The representations of semantic and transition areas (RoSTa; Li et al., IJCV 2022, Section 3.3), without loading torch."""

CLASSES = {"TT": 3, "FT": 2, "BT": 2}
"""Classes that the glance decoder predicts, by RoSTa."""
ROSTAS = (*CLASSES, "RIM")
"""Names; ``RIM`` integrates the other three."""
