"""What clients did and what came of it: the material of the checker.

A client writes an operation down before it sends it (`invoke`), and its outcome when it has one (`ok`, `fail`). What has neither may
have happened or not: the client died, or gave up waiting.

The names of operations are those of the protocol, with its fields as arguments and the content of `ok` as result. Beside them
there are `observed` ones, which a client did not ask for: `task.result` (args: task; result: state, body), `approval.decision` (args:
approval; result: the decision) and `inbox.message` (args: to; result: the message).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any, Final, Protocol

NOTHING: Final[Mapping[str, Any]] = {}


class Fact(Protocol):
    """An event of a room's log, as the broker stores it or as `room.observe` gives it."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def time(self) -> float: ...
    @property
    def sender(self) -> str: ...
    @property
    def subject(self) -> str | None: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def body(self) -> Any: ...


@dataclass(slots=True, eq=False)
class Operation:
    """One thing that a client asked for, or was told.

    Attributes:
        process: who; for the reader of a violation.
        invoked, ended: on one clock for all clients; `ended` is infinite while the outcome is not known.
        ok: the result; None while there is none.
        at: the sequence of the room that the answer reflects; None where it names none.
        code, detail: why it was refused: nothing of it was applied. An error that may have been applied is no outcome.
    """

    process: str
    name: str
    args: Mapping[str, Any]
    invoked: float
    ended: float = inf
    ok: Mapping[str, Any] | None = None
    at: int | None = None
    code: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        outcome = "unknown" if self.ended == inf else self.code or f"ok {dict(self.ok or {})}"
        return f"{self.process} {self.name} {dict(self.args)} [{self.invoked}..{self.ended}] {outcome}"


class History:
    """The operations of all clients of one room.

    Args:
        clock: for all clients the same one, rising. Without one each call is a moment of its own: for clients of one thread.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or count(1).__next__
        self.operations: list[Operation] = []
        self.streams: dict[str, list[Fact | tuple[int, int]]] = defaultdict(list)
        """What each reader of the whole log saw, in order: events, and gaps (first, last) that it was told of."""

    def invoke(self, process: str, name: str, /, **args: Any) -> Operation:
        operation = Operation(process, name, args, self._clock())
        self.operations.append(operation)
        return operation

    def ok(self, operation: Operation, result: Mapping[str, Any] = NOTHING, at: int | None = None) -> None:
        operation.ok, operation.at, operation.ended = result, at, self._clock()

    def fail(self, operation: Operation, code: str, detail: Mapping[str, Any] | None = None, *, maybe_applied: bool = False) -> None:
        """Refused. With `maybe_applied` the outcome stays unknown."""
        if not maybe_applied:
            operation.code, operation.detail, operation.ended = code, detail or {}, self._clock()

    def observed(self, process: str, name: str, result: Mapping[str, Any], /, **args: Any) -> None:
        """What a client was told without asking at that moment."""
        self.ok(self.invoke(process, name, **args), result)

    def saw(self, stream: str, event: Fact) -> None:
        self.streams[stream].append(event)

    def gap(self, stream: str, first: int, last: int) -> None:
        self.streams[stream].append((first, last))
