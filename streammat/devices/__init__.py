"""Cameras, virtual cameras and sound devices that are plugged in."""
