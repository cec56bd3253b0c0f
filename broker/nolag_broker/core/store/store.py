"""The store: plain maps under a namespace and a key, for every thread and agent of a room.

As on the blackboard, values are in the log and what stands here says where: to find, order, page and expire items nothing is read. What
needs the values themselves (filters, nearness) is the server's business, which asks `find` for what there is.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...wire.blobs import BLOB, MARK
from ...wire.codes import Refusal
from ...wire.grants import Grants
from ...wire.paths import name_of
from ..commands.store import Condition, Delete, Path, Put, StoreGet, StoreNamespaces, StoreWrite
from ..event import Event
from ..turn import Caller
from .item import Item, Row, Space, Version

if TYPE_CHECKING:
    from ..room import Room

UNTOLD: Final = 100  # an item that is read again within this part of its time costs no commit


class Store:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._spaces: dict[Path, Space] = {}
        self._names: list[Path] = []  # of the spaces, sorted
        self._by_revision: dict[int, Item] = {}

    def operations(self) -> dict[type, Any]:
        return {StoreGet: self.get, StoreWrite: self.write, StoreNamespaces: self.namespaces}

    def folds(self) -> dict[str, Any]:
        return {
            "store.put": self.apply_put,
            "store.indexed": self.apply_indexed,
            "store.refreshed": self.apply_refreshed,
            "store.deleted": self.apply_deleted,
        }

    # -- the folds

    def apply_put(self, event: Event) -> None:
        *namespace, label = event.data["path"]
        space = self._space(tuple(namespace), event.seq)
        version = Version(event.seq, event.time, event.data.get("ttl"), event.ct, 0)
        item = space.items.get(label)
        if item is None:
            item = space.items[label] = Item(space, label, event.seq, event.time, version)
        else:
            del self._by_revision[item.version.seq]
            item.version = version
        self._by_revision[event.seq] = item
        self._keep(item, event.time)

    def apply_indexed(self, event: Event) -> None:
        item = self._by_revision[event.data["revision"]]
        item.version = item.version._replace(dims=event.data["dims"])
        self._room.touch(item)

    def apply_refreshed(self, event: Event) -> None:
        for revision in event.data["revisions"]:
            self._keep(self._by_revision[revision], event.time)

    def apply_deleted(self, event: Event) -> None:
        item = self._by_revision.pop(event.data["revision"])
        space = item.space
        item.gone = True
        self._room.wall.cancel(item.timer)
        del space.items[item.label]
        if not space.items:
            del self._spaces[space.name]
            del self._names[bisect_left(self._names, space.name)]
        self._room.touch(item)

    def _space(self, name: Path, number: int) -> Space:
        space = self._spaces.get(name)
        if space is None:
            space = self._spaces[name] = Space(name, number)
            insort(self._names, name)
        return space

    def _keep(self, item: Item, since: float) -> None:
        ttl = item.version.ttl
        self._expire_at(item, None if ttl is None else since + ttl)
        self._room.touch(item)

    def _expire_at(self, item: Item, moment: float | None) -> None:
        wall = self._room.wall
        wall.cancel(item.timer)
        item.expires = moment
        item.timer = None if moment is None else wall.at(moment, self._expire, item, item.first)

    def load(self, rows: Mapping[str, bytes]) -> None:
        found = [Row.of(row) for key, row in rows.items() if key.startswith("item/")]
        for row in sorted(found, key=lambda row: (row.space, row.first)):
            *namespace, label = row.path
            space = self._space(tuple(namespace), row.space)
            item = space.items[label] = Item(space, label, row.first, row.created, row.version)
            item.stored = True
            self._by_revision[row.version.seq] = item
            self._expire_at(item, row.expires)

    # -- what there is

    def all(self) -> list[Item]:
        return list(self._by_revision.values())

    def find(self, prefix: Path, grants: Grants, wall: float) -> Iterator[Item]:
        """The items whose namespace begins with these labels and that the grants cover, oldest namespace first, then oldest item.

        Args:
            wall: what has expired by then is left out.
        """
        spaces = [self._spaces[name] for name in self._under(prefix)]
        covered = _covers(grants, self._room.name, prefix)
        for space in sorted(spaces, key=lambda space: space.number):
            for item in space.items.values():
                if _is_here(item, wall) and (covered or grants.allows("state", self._room.name, name_of(item.path))):
                    yield item

    def _under(self, prefix: Path) -> Iterator[Path]:
        names, length = self._names, len(prefix)
        for index in range(bisect_left(names, prefix), len(names)):
            if names[index][:length] != prefix:
                return
            yield names[index]

    def holds(self, revision: int) -> bool:
        """Whether that is the last one of an item."""
        return revision in self._by_revision

    def _at(self, path: Path) -> Item | None:
        space = self._spaces.get(path[:-1])
        item = space.items.get(path[-1]) if space is not None else None
        return item if item is not None and _is_here(item, self._room.env.wall) else None

    # -- operations

    def get(self, command: StoreGet, caller: Caller) -> dict[str, Any]:
        for path in command.paths:
            self._room.allow("state", name_of(path))
        items = [self._at(path) for path in command.paths]
        if command.refresh:
            self.refresh(item.version.seq for item in items if item is not None)
        return {"items": [None if item is None else item.view() for item in items]}

    def refresh(self, revisions: Iterable[int]) -> None:
        """These items were read: their time begins anew, where that is worth a commit. Those that were written or deleted meanwhile are
        left as they are."""
        wall = self._room.env.wall
        items = dict.fromkeys(item for revision in revisions if (item := self._by_revision.get(revision)) is not None)
        read = [item.version.seq for item in items if _is_here(item, wall) and _is_older(item, wall)]
        if read:
            self._room.emit("store.refreshed", None, {"revisions": read})

    def write(self, command: StoreWrite, caller: Caller) -> dict[str, Any]:
        self._room.tasks.check_lease(command.lease, caller)
        self._check(command.puts, command.deletes)
        written = [self._put(put) for put in command.puts]
        for delete in command.deletes:
            if (item := self._at(delete.path)) is not None:
                self._delete(item)
        return {"items": written}

    def _check(self, puts: tuple[Put, ...], deletes: tuple[Delete, ...]) -> None:
        """Everything or nothing: whether all of it can be written is found out first. Raises `Refusal`."""
        changes: tuple[Put | Delete, ...] = (*puts, *deletes)
        if len({change.path for change in changes}) < len(changes):
            raise Refusal("bad_request", "an item is named twice", detail={"field": "puts"})
        for change in changes:
            self._room.allow("state", name_of(change.path))
            if change.expected is None:
                continue
            item = self._at(change.path)
            revision = item.version.seq if item is not None else 0
            if revision != change.expected:
                text = f"the item {change.path[-1]!r} is at revision {revision}, not {change.expected}: read it again"
                raise Refusal("revision_conflict", text, detail={"revision": revision})
        new = sum(self._at(put.path) is None for put in puts)
        if new and len(self._by_revision) + new > self._room.limits.items:
            raise Refusal("overloaded", f"the store has {self._room.limits.items} items at most")

    def _put(self, put: Put) -> list[Any]:
        past = self._spaces.get(put.path[:-1])
        if past is not None and (item := past.items.get(put.path[-1])) is not None and not _is_here(item, self._room.env.wall):
            self._expire(item)  # it was gone before it was written: this is a new one
        room, name = self._room, name_of(put.path)
        data: dict[str, Any] = {"path": put.path}
        if put.ttl is not None:
            data["ttl"] = put.ttl
        body, ct = (put.body[len(MARK) :], BLOB) if put.body.startswith(MARK) else (put.body, None)
        event = room.emit("store.put", name, data, body, ct)
        if put.vectors is not None:
            room.emit("store.indexed", name, {"revision": event.seq, "dims": put.vectors.dims}, put.vectors.data, parent=event.seq)
        return [event.seq, self._by_revision[event.seq].created, event.time]

    def _delete(self, item: Item, **data: Any) -> None:
        self._room.emit("store.deleted", name_of(item.path), {"path": item.path, "revision": item.version.seq, **data})

    def _expire(self, item: Item) -> None:
        self._delete(item, reason="expired")

    def namespaces(self, command: StoreNamespaces, caller: Caller) -> dict[str, Any]:
        """Sorted; those that hold something the caller may see."""
        grants = caller.grants
        covered = _covers(grants, self._room.name, ())
        found = [
            name
            for name in self._names
            if all(_meets(condition, name) for condition in command.conditions) and (covered or self._shows(name, grants))
        ]
        if command.depth is not None:
            found = sorted({name[: command.depth] for name in found})
        return {"namespaces": found[command.offset : command.offset + command.limit]}

    def _shows(self, name: Path, grants: Grants) -> bool:
        items = self._spaces[name].items.values()
        return any(grants.allows("state", self._room.name, name_of(item.path)) for item in items)


def _is_here(item: Item, wall: float) -> bool:
    """Until its timer has run, an item may be past its time."""
    return item.expires is None or item.expires > wall


def _is_older(item: Item, wall: float) -> bool:
    """Whether a part of its time has passed since it began."""
    ttl, expires = item.version.ttl, item.expires
    return ttl is not None and expires is not None and wall + ttl - expires > ttl / UNTOLD


def _covers(grants: Grants, room: str, prefix: Path) -> bool:
    """Whether everything under a prefix is granted: names that only patterns for all of it match."""
    name = name_of(prefix)
    return all(grants.allows("state", room, name + more) for more in ("/**", "/*/**"))


def _meets(condition: Condition, name: Path) -> bool:
    labels = condition.labels
    if len(labels) > len(name):
        return False
    part = name[len(name) - len(labels) :] if condition.suffix else name
    return all(wanted in ("*", label) for wanted, label in zip(labels, part, strict=False))
