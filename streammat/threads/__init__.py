"""Threads of a run: those of stages, bounded channels between them, calls that can be abandoned, output that never blocks, scheduling."""
