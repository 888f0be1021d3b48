"""Data sets: which files they hold, how these are read, packed, cropped and batched."""
