"""A broker with further settings, as JSON in `CHAOS_SETTINGS`: those that no option of the command sets."""

from __future__ import annotations

import argparse
import json
import os
import sys

from nolag_broker.server.process import run
from nolag_broker.settings import Settings

parser = argparse.ArgumentParser()
for option in ("--path", "--port", "--lease"):
    parser.add_argument(option)
sys.exit(run(Settings.model_validate({**vars(parser.parse_args()), **json.loads(os.environ["CHAOS_SETTINGS"])})))
