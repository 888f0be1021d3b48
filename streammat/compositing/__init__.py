"""Matte to output image: backgrounds, the foreground's own colour, and blending."""
