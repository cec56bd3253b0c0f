"""A process that ends with its parent: `python -m langgraph_nolag.lifeline FD MODULE ARGS…` runs a module as `python -m` would, and ends
when the other end of the pipe FD is closed, which happens however the parent dies. (A death signal of the kernel would be tied to the
parent's thread, and exists on Linux only.)"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

DRAIN = 10.0  # seconds between asking to end and ending


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN)
    os._exit(1)


def main() -> None:
    lifeline, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_watch, args=(lifeline,), name="nolag-lifeline", daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
