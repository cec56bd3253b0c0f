"""Which tools are served, and by whom. A registration lasts as long as its member, over broken connections and restarts."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .commands.rooms import ToolList
from .event import Event
from .members import Member, Registration
from .turn import BodyAt, Caller

if TYPE_CHECKING:
    from .room import Room


class Tools:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._servers: dict[str, dict[Member, Registration]] = {}

    def operations(self) -> dict[type, Any]:
        return {ToolList: self.list_tools}

    def folds(self) -> dict[str, Any]:
        return {"tool.registered": self.apply_registered, "tool.unregistered": self.apply_unregistered}

    # -- the fold

    def apply_registered(self, event: Event) -> None:
        data = event.data
        member = self._room.members.by_holder[data["actor"], data["instance"]]
        name = event.subject or ""
        registration = Registration(event.seq if event.body is not None else 0, data.get("digest"), data["offer"])
        member.tools[name] = registration
        self._servers.setdefault(name, {})[member] = registration
        self._room.touch(member)

    def apply_unregistered(self, event: Event) -> None:
        data = event.data
        member = self._room.members.by_holder[data["actor"], data["instance"]]
        name = event.subject or ""
        del member.tools[name]
        servers = self._servers[name]
        del servers[member]
        if not servers:
            del self._servers[name]
        self._room.touch(member)

    def load(self) -> None:
        """From the members, which hold the registrations."""
        for member in self._room.members.by_holder.values():
            for name, registration in member.tools.items():
                self._servers.setdefault(name, {})[member] = registration

    # -- decided here, for members that serve or leave

    def served(self, name: str) -> bool:
        return name in self._servers

    def register(self, member: Member, offer: int, names: frozenset[str], specs: Mapping[str, bytes]) -> None:
        """The member's offer serves exactly these tools from now on; what is registered already is no event."""
        for name in sorted(names):
            spec = specs.get(name)
            digest = None if spec is None else blake2b(spec, digest_size=16).hexdigest()
            known = member.tools.get(name)
            if known is None or (known.digest, known.offer) != (digest, offer):
                data = {"actor": member.actor, "instance": member.instance, "offer": offer}
                if digest is not None:
                    data["digest"] = digest
                self._room.emit("tool.registered", name, data, spec)
        for name in [name for name, tool in member.tools.items() if tool.offer == offer and name not in names]:
            self._unregister(member, name)

    def unregister_all(self, member: Member) -> None:
        for name in list(member.tools):
            self._unregister(member, name)

    def _unregister(self, member: Member, name: str) -> None:
        self._room.emit("tool.unregistered", name, {"actor": member.actor, "instance": member.instance})
        if name not in self._servers:
            self._room.tasks.unserved(name)

    # -- operations

    def list_tools(self, command: ToolList, caller: Caller) -> dict[str, Any]:
        room, tools = self._room, []
        for name, servers in sorted(self._servers.items()):
            if caller.grants.allows("tools", room.name, name):
                described = max(registration.seq for registration in servers.values())  # the latest description stands
                tools.append({"name": name, "spec": BodyAt(described) if described else None, "servers": len(servers)})
        return {"tools": tools}
