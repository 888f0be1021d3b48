"""``python -m train``."""

from __future__ import annotations

from streammat.train.cli import main

if __name__ == "__main__":
    main(prog_name="python -m train")
