"""`broker.backup`: a folder that a broker can be started on, made while this one goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ..engine.base import BackupFailed, Engine
from ..engine.sqlite import SqliteEngine
from ..wire.codes import Refusal
from .auth import KEY_FILE
from .errors import CannotStart
from .logs import get_logger
from .private import write_private

log = get_logger("backup")


async def back_up(engine: Engine, data: Path, folder: Any) -> dict[str, Any]:
    """Everything but the address and the admin's token, which the next start writes. Whole under its name, or not there.

    Args:
        data: the folder of this broker.
        folder: an absolute path, where nothing is yet.

    Raises:
        Refusal: `bad_request`.
    """
    if not isinstance(folder, str) or "\0" in folder or not Path(folder).is_absolute():
        raise _refused("the folder is to be an absolute path on the broker's machine")
    if not isinstance(engine, SqliteEngine):
        raise _refused("this broker keeps nothing on disk")
    place, begun = Path(folder), time.monotonic()
    part: Path | None = None
    try:
        part = _prepare(place)
        await asyncio.to_thread(_add_key, data, part)  # before the database, which is there when everything is
        events = await engine.back_up(part)
        size = await asyncio.to_thread(_finish, part, place)
    except BaseException as error:
        if part is not None:
            await asyncio.to_thread(_discard, part)
        if isinstance(error, (BackupFailed, CannotStart, OSError)):
            raise _refused(str(error)) from None
        raise
    seconds = round(time.monotonic() - begun, 3)
    log.info("a copy was made", folder=folder, events=events, bytes=size, seconds=seconds)
    return {"folder": folder, "events": events, "bytes": size, "seconds": seconds}


def _prepare(place: Path) -> Path:
    """A folder beside the place, mode 0700."""
    if place.exists():
        raise BackupFailed(f"{place} is there already")
    return Path(mkdtemp(prefix=f".{place.name}.", dir=place.parent))


def _add_key(data: Path, part: Path) -> None:
    """So that tokens stay good."""
    write_private(part / KEY_FILE, (data / KEY_FILE).read_bytes())


def _finish(part: Path, place: Path) -> int:
    """Give the folder its name; how many bytes it has. It keeps the old one where that can't be made durable."""
    size = sum(file.stat().st_size for file in part.iterdir())
    parent = os.open(place.parent, os.O_RDONLY)
    try:
        part.rename(place)
        try:
            os.fsync(parent)
        except OSError:
            place.rename(part)
            raise
    finally:
        os.close(parent)
    return size


def _discard(part: Path) -> None:
    """Under a third name, at once: who was cancelled may still be giving the folder its own, which it gets whole or not at all."""
    with contextlib.suppress(OSError):
        shutil.rmtree(part.rename(part.with_name(part.name + ".gone")), ignore_errors=True)


def _refused(why: str) -> Refusal:
    return Refusal("bad_request", f"no copy was made: {why}", detail={"field": "folder"})
