"""Threads of a run: bounded channels between them, calls that can be abandoned, output that never blocks, scheduling."""
