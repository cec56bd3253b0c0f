"""A process that ends with its parent: `python -m langgraph_nolag.lifeline FD ARGS…` runs the command line with ARGS, and ends when
the other end of the pipe FD is closed, which happens however the parent dies. (A death signal of the kernel would be tied to the
parent's thread, and exists on Linux only.)"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from .cli.main import main as run

DRAIN = 10.0  # seconds between asking to end and ending


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN)
    os._exit(1)


def main() -> None:
    threading.Thread(target=_watch, args=(int(sys.argv[1]),), name="nolag-lifeline", daemon=True).start()
    sys.argv = ["langgraph-nolag", *sys.argv[2:]]
    run()


if __name__ == "__main__":
    main()
