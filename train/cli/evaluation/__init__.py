"""Commands that measure networks and compare them; one file per command."""
