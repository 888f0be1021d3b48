"""The figures that the GFM paper printed, and what is made to compare with them: its tables, short runs, commands."""
