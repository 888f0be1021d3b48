"""How a live run is steered: its commands, the keys, sockets and pipes that they come from, and settings written for the next run."""
