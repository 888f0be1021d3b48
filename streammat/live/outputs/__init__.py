"""The outputs of a live run: opened by name, each with a thread and a queue of its own, switched on and off during the run."""
