"""Where checkpoints lie among a room's records: the whole layout, in one place.

    checkpoint/<thread>/c/<ns>/<checkpoint id>                      a checkpoint without its channel values, and its metadata
    checkpoint/<thread>/v/<ns>/<channel>/<version>                  a channel's value, shared by all checkpoints with this version
    checkpoint/<thread>/r/request, checkpoint/<thread>/r/mark       the last run of the thread: how it was asked for, how far it came
    checkpoint/<thread>/w/<ns>/<checkpoint id>/<task id>/<index>    a pending write

A thread is one prefix, so that deleting it is one range. Everything that is walked in order of time (the checkpoints of
a namespace) lies side by side and holds nothing else. Segments are escaped by `segment`, which keeps the order of
LangGraph's checkpoint ids (they rise with time) and of every other text without the characters it escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from ...errors import BadRequest

KIND: Final = "checkpoint"
PREFIXES: Final = 1000  # of each kind, kept: a thread is written and read many times in a row
LONGEST_THREAD: Final = 512  # characters of a thread's id as a segment; keys have no more
_EMPTY: Final = "%"  # an escape is never a lone percent sign
_SPECIAL: Final = re.compile(r"[%/*]")


def segment(text: str) -> str:
    """Any text as one segment of a key: `%`, `/`, `*` and what can't be printed become percent escapes of their UTF-8 bytes."""
    if text.isprintable() and not _SPECIAL.search(text):
        return text or _EMPTY
    return "".join(char if char.isprintable() and char not in "%/*" else _escaped(char) for char in text)


def text(segment: str) -> str:
    """The text that `segment` made this of."""
    return "" if segment == _EMPTY else unquote(segment, errors="surrogatepass")


def thread(thread_id: str) -> str:
    """Prefix of all that belongs to a thread.

    Raises:
        BadRequest: the id is too long.
    """
    if len(owner := segment(thread_id)) > LONGEST_THREAD:
        raise BadRequest(f"a thread_id of {len(thread_id)} characters is too long: at most {LONGEST_THREAD}", detail={"field": "thread_id"})
    return f"{KIND}/{owner}/"


@lru_cache(PREFIXES)
def checkpoints(thread_id: str, ns: str | None = None) -> str:
    """Prefix of the checkpoints of one namespace, or of all of them."""
    prefix = f"{thread(thread_id)}c/"
    return prefix if ns is None else f"{prefix}{segment(ns)}/"


def checkpoint(thread_id: str, ns: str, checkpoint_id: str) -> str:
    return checkpoints(thread_id, ns) + segment(checkpoint_id)


@lru_cache(PREFIXES)
def values(thread_id: str, ns: str | None = None) -> str:
    """Prefix of the channel values of one namespace, or of all of them."""
    prefix = f"{thread(thread_id)}v/"
    return prefix if ns is None else f"{prefix}{segment(ns)}/"


def value(thread_id: str, ns: str, channel: str, version: str | int | float) -> str:
    return f"{values(thread_id, ns)}{segment(channel)}/{segment(str(version))}"


def values_of(thread_id: str, ns: str, channels: Mapping[str, str | int | float]) -> list[str]:
    """The keys of the values of these channels, with their versions."""
    prefix = values(thread_id, ns)
    return [f"{prefix}{segment(channel)}/{segment(str(version))}" for channel, version in channels.items()]


@lru_cache(PREFIXES)
def writes_of_all(thread_id: str, ns: str) -> str:
    """Prefix of the pending writes of all checkpoints of a namespace."""
    return f"{thread(thread_id)}w/{segment(ns)}/"


def writes(thread_id: str, ns: str, checkpoint_id: str) -> str:
    """Prefix of the pending writes of one checkpoint."""
    return f"{writes_of_all(thread_id, ns)}{segment(checkpoint_id)}/"


def write(thread_id: str, ns: str, checkpoint_id: str, task_id: str, index: int) -> str:
    return f"{writes(thread_id, ns, checkpoint_id)}{segment(task_id)}/{index}"


def run_request(thread_id: str) -> str:
    return f"{thread(thread_id)}r/request"


def run_mark(thread_id: str) -> str:
    return f"{thread(thread_id)}r/mark"


def names(key: str) -> tuple[str, str, str]:
    """Thread, namespace and id that the key of a checkpoint says."""
    _, thread_id, _, ns, checkpoint_id = key.split("/")
    return text(thread_id), text(ns), text(checkpoint_id)


def names_of_write(key: str) -> tuple[str, str, str]:
    """The same that the key of a pending write says."""
    return names(key.rsplit("/", 2)[0])


def parse_checkpoint(key: str) -> tuple[str, str, str] | None:
    """The same for any key of this layout: None for those of values and writes."""
    return names(key) if key.split("/", 3)[2] == "c" else None


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
