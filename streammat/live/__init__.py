"""Live video: its main path, the session that runs it, and what is shown when something fails."""
