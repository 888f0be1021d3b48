"""``python -m streammat``."""

from streammat.cli import main

main(prog_name="streammat")
