"""Data sets: finding, reading, packing, cropping and batching their files."""
