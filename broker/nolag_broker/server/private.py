"""Files of the broker's own that nobody else may read: its key, its admin token."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import CannotStart


def write_private(file: Path, content: bytes) -> None:
    """Write a file, mode 0600: whole, or not at all.

    Raises:
        CannotStart
    """
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise CannotStart(f"cannot write {file}: {error.strerror}") from None
