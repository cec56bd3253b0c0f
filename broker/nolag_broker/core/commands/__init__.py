"""What can be asked of a room: one dataclass an operation, its fields checked before anything is decided.

The declarations are the contract: PROTOCOL.md's tables, in Python. `None` on the wire means absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...wire.codes import Refusal
from . import approvals, keyed, messages, rooms, schedules, serving, store, streams, tasks
from .command import Command
from .fields import MAX_INT, integer
from .reading import build

COMMANDS: Final[dict[str, type[Command]]] = {
    value.op: value
    for module in (rooms, messages, tasks, serving, schedules, keyed, store, approvals, streams)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Command) and value is not Command
}
_read_done: Final = integer(0, MAX_INT)


def parse(frame: Mapping[str, Any]) -> Command:
    """The command of a request frame; `id`, `room` and fields that are not known are left to others.

    Raises:
        Refusal: `unknown_op`; `bad_request`, which names the field.
    """
    op = frame.get("op")
    cls = COMMANDS.get(op) if type(op) is str else None
    if cls is None:
        raise Refusal("unknown_op", f"no operation {str(op)[:64]!r}")
    command = build(cls, frame)
    if frame.get("resent") is True:
        command.resent = True
    if (done := frame.get("done")) is not None:
        command.done = _read_done(done, "done")
    return command
