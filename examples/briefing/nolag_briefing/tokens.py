"""Who may do what: a token for each process, for its own work and no more. No agent may approve the briefing."""

from __future__ import annotations

from langgraph_nolag.client.connection import Connection
from langgraph_nolag.client.credentials import Credentials

from .settings import ROOM

LIFE = 7 * 86400.0  # seconds; a gate may wait over the weekend
_AGENT = ("publish", "dispatch", "state", "tools")
VERBS = {
    "supervisor": ("publish", "subscribe", "state", "approve"),
    "orchestrator": (*_AGENT, "checkpoint"),
    "librarian": (*_AGENT, "claim"),
    "writer": (*_AGENT, "claim"),
    "reviewer": (*_AGENT, "claim"),
}


async def mint(admin: Credentials) -> dict[str, str]:
    """A token for everybody in `VERBS`, by name.

    Raises:
        NoLagError: the broker can't be reached, or `admin` is not one.
    """
    connection = Connection(admin.url, admin.token)
    try:
        tokens = {}
        for name, verbs in VERBS.items():
            grants = [{"room": ROOM, "verbs": list(verbs)}]
            tokens[name] = str((await connection.acall("token.mint", actor=name, grants=grants, ttl=LIFE))["token"])
        return tokens
    finally:
        await connection.aclose()
