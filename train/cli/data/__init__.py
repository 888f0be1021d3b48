"""Commands that make data: labels, mattes, sets, composites; one file per command."""
