"""Requests to a room written once, run from synchronous and from asynchronous code.

A `Steps` generator yields the requests of one round trip (they are sent together) and is sent their responses; it holds
the logic and does no I/O. `run` and `arun` are the two thin edges.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from ...client.link import RoomLink
    from ...client.requests import Answer

T = TypeVar("T")
Request = tuple[str, dict[str, Any]]
"""An operation of the protocol and its fields."""
Steps = Generator[Sequence[Request], Sequence["Answer"], T]

MANY: Final = 1000  # items that one list of a request may hold
TIMEOUT: Final = 30.0  # seconds for one round trip, reconnects included


def chunks(items: Sequence[T], size: int = MANY) -> Iterator[Sequence[T]]:
    """Items in lists that a request can hold."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def run(link: RoomLink, steps: Steps[T], *, patient: bool = False) -> T:
    """Run to the end, blocking the calling thread.

    Args:
        patient: other requests follow as a rule, and nobody waits for these alone: they may leave together.

    Raises:
        NoLagError: what the room refused; also on the SDK's own thread, which must not block.
    """
    try:
        requests = next(steps)
        while True:
            *others, (op, fields) = requests
            futures = [link.request(other, **its) for other, its in others]
            last = link.call(op, within=TIMEOUT, patient=patient, **fields)
            requests = steps.send([*(future.result(TIMEOUT) for future in futures), last])
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun(link: RoomLink, steps: Steps[T], *, patient: bool = False) -> T:
    """Run to the end on any event loop. `patient` as for `run`.

    Raises:
        NoLagError: what the room refused.
    """
    try:
        requests = next(steps)
        while True:
            requests = steps.send(await link.acall_all(requests, TIMEOUT, patient=patient))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
