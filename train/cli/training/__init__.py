"""Commands that train: whole recipes, single runs, averages, exports; one file per command."""
