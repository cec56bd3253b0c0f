"""Logs as events. As a library we log to the standard `logging` and leave to the program what becomes of it; `to_stderr` is
what the broker's own process does."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog

ROOT = "nolag"


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(f"{ROOT}.{name}"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
    )
    return logger


def trace(error: BaseException) -> str:
    """Where it broke, for a log: lines of code only, never the values that were there (tokens, bodies)."""
    return "".join(traceback.format_exception(error))


def to_stderr() -> None:
    """One line an event: for people on a terminal, as JSON elsewhere."""
    render: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[strip, render]))
    logger = logging.getLogger(ROOT)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
