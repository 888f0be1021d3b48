"""Live video: its main path and its parts; `streammat.jobs.live` puts them together."""
