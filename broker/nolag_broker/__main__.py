"""`python -m nolag_broker`: run a broker."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m nolag_broker", description="Run a broker until it is stopped.")
    parser.add_argument("--path", type=Path, default=Path(".nolag"), help="folder of its data (default: .nolag)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7420, help="0 takes a free one")
    parser.add_argument("--engine", choices=("sqlite", "memory"), default="sqlite")
    parser.add_argument("--insecure", action="store_true", help="listen beyond this machine without TLS")
    parser.add_argument("--lease", type=float, default=30.0, help="seconds that the tasks of a silent process stay its own")
    parser.add_argument(
        "--open-rooms",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether whoever may act in a room may open it, or only an admin (default: on loopback only)",
    )
    options = parser.parse_args(arguments)
    from .settings import Settings

    try:
        settings = Settings(**vars(options))
    except ValueError as error:
        parser.error(str(error))
    from .server.process import run

    return run(settings)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):  # until the broker hears of them itself: there is nothing yet to end in good order
        signal.signal(number, lambda *_: os._exit(0))
    sys.exit(main())
