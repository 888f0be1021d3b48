"""Threads of a run: bounded channels between them, work that can be given up, and where the time went."""
