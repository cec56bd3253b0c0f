"""Presence: who is here, what they can do, and how much they have to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..client.io import settled
from ..client.link import RoomLink
from ..client.names import names
from ..client.stream import Stream, log_stream
from ..client.subscription import Gap
from ..client.watching import Watch


@dataclass(frozen=True, slots=True)
class Agent:
    """One process in the room.

    Attributes:
        load, max_concurrency: tasks it holds, and how many it would.
        last_heartbeat, joined_at: seconds since 1970.
        online: False while its connection is broken and its lease not over.
    """

    actor: str
    instance: str
    capabilities: tuple[str, ...]
    max_concurrency: int
    load: int
    status: str
    metadata: dict[str, Any]
    joined_at: float
    last_heartbeat: float
    online: bool


@dataclass(frozen=True, slots=True)
class Change:
    """Somebody came, changed or went.

    Attributes:
        kind: `join`, `update` or `leave`.
        seq: sequence of the event; of the listing for those who were here before.
    """

    kind: str
    actor: str
    instance: str
    capabilities: tuple[str, ...]
    max_concurrency: int
    status: str
    metadata: dict[str, Any]
    seq: int


Changes = list[Change]  # in the class, `list` is the method


class Presence:
    """`room.presence`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    async def list(self) -> list[Agent]:
        """Who is here now."""
        return [_agent(member) for member in (await self._link.acall("presence.list"))["members"]]

    async def update(
        self,
        *,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        capabilities: Sequence[str] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        """Change what others see of us, now and after every reconnect. None: as it is."""
        await settled(
            self._link.update_presence(
                status=status,
                metadata=None if metadata is None else dict(metadata),
                capabilities=None if capabilities is None else names(capabilities, "capabilities"),
                max_concurrency=max_concurrency,
            )
        )

    def watch(self) -> Watch[Change]:
        """Those who are here first (as `join`), then everybody who comes, changes and goes. Changes that can't be had any more are made up
        for by how things are now."""
        known: dict[str, Change] = {}

        async def look() -> tuple[Changes, Stream[Change | Gap]]:
            listing = await self._link.acall("presence.list")
            present = {member["instance"]: _change("join", member, member["actor"], listing.seq) for member in listing["members"]}
            news = [replace(known.pop(instance), kind="leave", seq=listing.seq) for instance in known.keys() - present.keys()]
            for instance, change in present.items():
                before = known.get(instance)
                if before is None:
                    news.append(change)
                elif replace(change, kind=before.kind, seq=before.seq) != before:
                    news.append(replace(change, kind="update"))
            known.update(present)
            return news, log_stream(self._link, "presence.*", changed, since=listing.seq, epoch=listing.epoch)

        def changed(event: dict[str, Any] | Gap) -> Change | Gap | None:
            change = _changed(event)
            if isinstance(change, Change):
                if change.kind == "leave":
                    known.pop(change.instance, None)
                else:
                    known[change.instance] = change
            return change

        return Watch(look)


_KINDS = {"presence.joined": "join", "presence.updated": "update", "presence.left": "leave"}


def _changed(event: dict[str, Any] | Gap) -> Change | Gap | None:
    if isinstance(event, Gap):
        return event
    kind = _KINDS.get(event["type"])
    return None if kind is None else _change(kind, event["data"], event["subject"], event["seq"])


def _change(kind: str, data: Mapping[str, Any], actor: str, seq: int) -> Change:
    return Change(
        kind,
        actor,
        data["instance"],
        tuple(data.get("capabilities", ())),
        data.get("max_concurrency", 0),
        data.get("status", ""),
        data.get("metadata") or {},
        seq,
    )


def _agent(member: Mapping[str, Any]) -> Agent:
    return Agent(
        member["actor"],
        member["instance"],
        tuple(member["capabilities"]),
        member["max_concurrency"],
        member["load"],
        member["status"],
        member["metadata"],
        member["joined_at"],
        member["last_heartbeat"],
        member["online"],
    )
