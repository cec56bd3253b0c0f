"""Ranges of keys. Keys compare by their code points, which is the order of their UTF-8 bytes."""

from __future__ import annotations

from dataclasses import dataclass

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)  # no character: UTF-8 can't hold them


def prefix_end(prefix: str) -> str | None:
    """The least key after all keys that begin with `prefix`; None when there is none."""
    stem = prefix.rstrip(chr(_LAST))
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys from `low` up to but without `high` (None: to the end)."""

    low: str
    high: str | None

    @classmethod
    def of(cls, prefix: str, after: str | None = None, before: str | None = None) -> KeyRange:
        """Keys that begin with `prefix`, between two exclusive bounds."""
        low, high = prefix, prefix_end(prefix)
        if after is not None:
            low = max(low, after + "\0")  # the least string that is greater
        if before is not None:
            high = before if high is None else min(high, before)
        return cls(low, high)

    @property
    def empty(self) -> bool:
        return self.high is not None and self.low >= self.high
