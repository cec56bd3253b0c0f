"""Records: keyed bytes that are never held in memory. Writing is a fact of the log; what was written is beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .commands.keyed import RecordRead, RecordScan, RecordWrite
from .event import Event
from .turn import Caller, RecordAt, ScanAt

if TYPE_CHECKING:
    from .room import Room

EVERY_OWNER: Final = ("**", "*/**")  # names that only grants for all owners match
KNOWN: Final = 10_000  # owners of which it is remembered when they were written last


class Records:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._last: dict[str, int] = {}  # sequence of the last write to an owner's records, oldest first
        self._others = 0  # owners not in `_last` were last written at this sequence or before

    def load(self, sequence: int) -> None:
        """Whatever was written, was written until then."""
        self._others = sequence

    def folds(self) -> dict[str, Any]:
        return {"record.written": self._written}

    def _written(self, event: Event) -> None:
        owner = event.subject or ""
        self._last.pop(owner, None)
        self._last[owner] = event.seq
        if len(self._last) > KNOWN:
            self._others = self._last.pop(next(iter(self._last)))

    def _last_of(self, owner: str) -> int:
        """A sequence after which nothing of this owner was written: that of the last write, where it is remembered."""
        return self._last.get(owner, self._others)

    def operations(self) -> dict[type, Any]:
        return {RecordWrite: self.write, RecordRead: self.read, RecordScan: self.scan}

    def write(self, command: RecordWrite, caller: Caller) -> dict[str, Any]:
        room = self._room
        touched: dict[str, int] = {}
        for key in (*command.delete_prefixes, *command.deletes, *(put[0] for put in command.puts)):
            owner = self._allow(key)
            touched[owner] = touched.get(owner, 0)
        room.tasks.check_lease(command.lease, caller)
        for prefix in command.delete_prefixes:
            room.delete_records(prefix)
        for key in command.deletes:
            room.put_record(key, None)
        written = 0
        for key, body, if_absent in command.puts:
            if not if_absent or room.cold(key) is None:
                room.put_record(key, body)
                written += 1
                touched[_owner(key)] += 1
        before = max([self._last_of(owner) for owner in touched], default=0)
        for owner, count in touched.items():
            room.emit("record.written", owner, {"count": count})
        return {"written": written, "before": before, "at": room.seq}

    def read(self, command: RecordRead, caller: Caller) -> dict[str, Any]:
        for owner in {_owner(key) for key in command.keys}:
            self._allow(owner)
        return {"bodies": [RecordAt(key) for key in command.keys]}

    def scan(self, command: RecordScan, caller: Caller) -> dict[str, Any]:
        if command.prefix.endswith("/") and command.prefix.count("/") == 1:
            for resource in EVERY_OWNER:
                self._room.allow("checkpoint", resource)
            last = {}
        else:
            last = {"last": self._last_of(self._allow(command.prefix))}
            if command.since is not None and command.epoch == self._room.epoch and last["last"] <= command.since:
                return {"items": (), "end": True, "same": True, **last}
        scan = ScanAt(command.prefix, command.after, command.before, command.reverse, command.limit, command.bodies)
        return {"items": scan, **last}  # the node, which reads, adds whether that is the end

    def _allow(self, key: str) -> str:
        """The key's kind and owner, when the caller may use it."""
        owner = _owner(key)
        self._room.allow("checkpoint", owner.split("/", 1)[1])
        return owner


def _owner(key: str) -> str:
    """The key up to its second `/`, for example `checkpoint/thread-7`."""
    kind, owner = key.split("/", 2)[:2]
    return f"{kind}/{owner}"
