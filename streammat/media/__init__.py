"""Frames and images: their layout, colour, fields and times, and the containers they come from."""
