"""``python -m streammat``."""

from streammat.cli import main

main()
