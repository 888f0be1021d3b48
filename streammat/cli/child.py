"""A worker process: runs one command of the public command line after the other and keeps the network open between them.

``python -m streammat.cli.child PARENT`` reads from each line of stdin a JSON list of arguments of ``streammat`` and prints the
output of that command, and then ``{"event": "ended", "code": its exit code, "networks": how many have been opened so far}``. It
ends with stdin or with PARENT, the process id of its starter: a killed batch must not leave processes behind that compete with
the batch that continues it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _serve() -> None:
    from streammat.cli import main
    from streammat.matting.network import Networks

    networks = Networks(keep=True)
    for line in sys.stdin:
        try:
            main(json.loads(line), obj=networks)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        print(json.dumps({"event": "ended", "code": code, "networks": networks.opened}), flush=True)
        if code > 128:
            sys.exit(code)  # a signal ends the process, too


if __name__ == "__main__":
    if sys.platform != "win32":  # where a process keeps the number of a parent that has gone
        threading.Thread(target=_follow, args=(int(sys.argv[1]),), daemon=True).start()
    _serve()
