"""One pattern grammar for topics, event types, blackboard keys, rooms and grants.

`.` and `/` end a segment; `*` matches within one segment; `**` matches any number of segments, none included.
No regular expressions come from users: a pattern is split and walked, and what it costs is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

from .codes import Refusal

MAX_LENGTH = 512
Matcher = Callable[[str], bool]


def segments(name: str) -> tuple[str, ...]:
    return tuple(name.replace("/", ".").split("."))


def check_name(name: str, what: str = "name") -> str:
    """A concrete name: 1 to 512 characters, no wildcard, no control characters.

    Raises:
        Refusal: `bad_request`.
    """
    if not name or len(name) > MAX_LENGTH or "*" in name or not name.isprintable():
        raise Refusal("bad_request", f"{what} must be 1 to {MAX_LENGTH} printable characters without '*': {name[:64]!r}")
    return name


def check_pattern(pattern: str) -> str:
    """A pattern a client sent. Raises `Refusal` (`bad_request`) for one that can't match anything."""
    if not pattern or len(pattern) > MAX_LENGTH or not pattern.isprintable():
        raise Refusal("bad_request", f"a pattern must be 1 to {MAX_LENGTH} printable characters: {pattern[:64]!r}")
    if any("**" in part and part != "**" for part in segments(pattern)):
        raise Refusal("bad_request", f"'**' must be a whole segment: {pattern!r}")
    return pattern


@lru_cache(maxsize=4096)
def matcher(pattern: str) -> Matcher:
    """The test for one pattern, compiled once. `a.**` matches `a`, `a.b` and `a/b/c`."""
    if pattern == "**":
        return lambda name: True
    if "*" not in pattern:
        exact = segments(pattern)
        return lambda name: name == pattern or segments(name) == exact
    parts = segments(pattern)
    return lambda name: _walk(parts, segments(name))


def matches(pattern: str, name: str) -> bool:
    return matcher(pattern)(name)


def matches_any(patterns: Iterable[str], name: str) -> bool:
    return any(matcher(pattern)(name) for pattern in patterns)


def _walk(pattern: tuple[str, ...], name: tuple[str, ...]) -> bool:
    """Greedy match with one point of return, as for `*` in file names: linear in practice, never exponential."""
    p = n = 0
    star = mark = -1
    while n < len(name):
        if p < len(pattern) and pattern[p] == "**":
            star, mark = p, n
            p += 1
        elif p < len(pattern) and _segment(pattern[p], name[n]):
            p += 1
            n += 1
        elif star >= 0:
            mark += 1
            p, n = star + 1, mark
        else:
            return False
    return all(part == "**" for part in pattern[p:])


def _segment(pattern: str, text: str) -> bool:
    if pattern == "*" or pattern == text:
        return True
    # `[` and `?` mean nothing in our grammar
    return "*" in pattern and fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))
