"""Which tools are served, and by whom.

A registration lasts as long as its offer. Over a broken connection, and a restart, it is kept: who calls a tool meanwhile waits for its
server, until the member's lease ends; or, when it has come back, until it has had the time of a lease to serve again.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .commands.rooms import ToolList
from .event import Event
from .members import Member, Registration, Session
from .turn import BodyAt, Caller

if TYPE_CHECKING:
    from .room import Room


class Tools:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._servers: dict[str, dict[tuple[Member, int], Registration]] = {}  # by who serves, and with which offer

    def operations(self) -> dict[type, Any]:
        return {ToolList: self.list_tools}

    def folds(self) -> dict[str, Any]:
        return {"tool.registered": self.apply_registered, "tool.unregistered": self.apply_unregistered}

    # -- the fold

    def apply_registered(self, event: Event) -> None:
        data = event.data
        member = self._room.members.by_holder[data["actor"], data["instance"]]
        name = event.subject or ""
        registration = Registration(event.seq if event.body is not None else 0, data.get("digest"))
        member.tools[name, data["offer"]] = registration
        self._servers.setdefault(name, {})[member, data["offer"]] = registration
        self._room.touch(member)

    def apply_unregistered(self, event: Event) -> None:
        data = event.data
        member = self._room.members.by_holder[data["actor"], data["instance"]]
        name = event.subject or ""
        servers = self._servers[name]
        for offer in [offer for tool, offer in member.tools if tool == name and offer == data.get("offer", offer)]:  # older logs name none
            del member.tools[name, offer], servers[member, offer]
        if not servers:
            del self._servers[name]
        self._room.touch(member)

    def load(self) -> None:
        """From the members, which hold the registrations."""
        for member in self._room.members.by_holder.values():
            for (name, offer), registration in member.tools.items():
                self._servers.setdefault(name, {})[member, offer] = registration

    # -- decided here, for members that serve or leave

    def served(self, name: str) -> bool:
        return name in self._servers

    def register(self, member: Member, offer: int, names: frozenset[str], specs: Mapping[str, bytes]) -> None:
        """The member's offer serves exactly these tools from now on; what is registered already is no event."""
        for name in sorted(names):
            spec = specs.get(name)
            digest = None if spec is None else blake2b(spec, digest_size=16).hexdigest()
            known = member.tools.get((name, offer))
            if known is None or known.digest != digest:
                data = {"actor": member.actor, "instance": member.instance, "offer": offer}
                if digest is not None:
                    data["digest"] = digest
                self._room.emit("tool.registered", name, data, spec)
        for name in [name for name, served in member.tools if served == offer and name not in names]:
            self._unregister(member, name, offer)

    def expect(self, member: Member, session: Session) -> None:
        """The member is on a new connection, where it is to serve again what it served."""
        if member.tools:
            self._room.monotonic.at(self._room.env.now + self._room.limits.lease, self._expected, session, member.seq)

    def _expected(self, session: Session) -> None:
        if (member := session.member) is not None:  # otherwise it is on another connection, or gone
            for name, offer in list(member.tools):
                if offer not in session.offers:
                    self._unregister(member, name, offer)

    def unregister_all(self, member: Member) -> None:
        for name, offer in list(member.tools):
            self._unregister(member, name, offer)

    def _unregister(self, member: Member, name: str, offer: int) -> None:
        self._room.emit("tool.unregistered", name, {"actor": member.actor, "instance": member.instance, "offer": offer})
        if name not in self._servers:
            self._room.tasks.unserved(name)

    # -- operations

    def list_tools(self, command: ToolList, caller: Caller) -> dict[str, Any]:
        room, tools = self._room, []
        for name, servers in sorted(self._servers.items()):
            if caller.grants.allows("tools", room.name, name):
                described = max(registration.seq for registration in servers.values())  # the latest description stands
                members = {member for member, _ in servers}
                tools.append({"name": name, "spec": BodyAt(described) if described else None, "servers": len(members)})
        return {"tools": tools}
