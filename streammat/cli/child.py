"""A worker's process: the public command line, ended with whoever started it.

``python -m streammat.cli.child PARENT video IN OUT …``: a batch that is killed must not leave processes behind that take the
machine from the batch that goes on in its place. PARENT is the number of the process that has to live.
"""

from __future__ import annotations

import os
import sys
import threading
import time


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    if sys.platform != "win32":  # where a process keeps the number of a parent that has gone
        threading.Thread(target=_follow, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["streammat", *sys.argv[2:]]
    from streammat.cli import main

    main()
