"""Play many seeds: `python -m langgraph_nolag.testing.simulation --from 0 --seeds 10000 --processes 2`."""

from __future__ import annotations

import argparse
import sys

from .seeds import play
from .world import OPERATIONS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m langgraph_nolag.testing.simulation", description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--operations", type=int, default=OPERATIONS, help="that clients begin in each")
    options = parser.parse_args()
    _, failed = play(range(options.first, options.first + options.seeds), options.processes, options.operations)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
