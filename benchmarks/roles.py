"""The processes of a contender that are not its server: `python -m benchmarks.roles worker|dispatcher …`, started by `run`."""

from __future__ import annotations

import asyncio
import json
import sys

from .contenders import ALL
from .shapes import SHAPES, drive


def main() -> None:
    role, contender, address, *rest = sys.argv[1:]
    if role == "worker":
        asyncio.run(ALL[contender].work(address, lambda: print("ready", flush=True)))
    else:
        shape, seconds = rest
        print(json.dumps(asyncio.run(drive(ALL[contender], address, SHAPES[shape], float(seconds)))))


if __name__ == "__main__":
    main()
