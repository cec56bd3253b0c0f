"""A broker that looks at its rooms' retention all the time, for row 12."""

from __future__ import annotations

import argparse
import sys

from nolag_broker.server.broker import run
from nolag_broker.settings import Settings

parser = argparse.ArgumentParser()
for option in ("--path", "--port", "--lease"):
    parser.add_argument(option)
sys.exit(run(Settings.model_validate({**vars(parser.parse_args()), "trim_every": 0.05})))
