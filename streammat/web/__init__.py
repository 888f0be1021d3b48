"""The control page of a live run, served by the run itself: ``streammat webcam --web``."""
