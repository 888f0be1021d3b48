"""Models by name or file, imported or exported; those that ship are in `streammat.engines.shipped`."""
