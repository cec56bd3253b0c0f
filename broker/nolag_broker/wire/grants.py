"""What a token allows: a list of grants, each a room pattern, topic patterns and verbs. Deny by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .codes import Refusal
from .topics import check_pattern, matcher, matches_any

VERBS: Final = ("publish", "subscribe", "dispatch", "claim", "state", "approve", "tools", "checkpoint", "admin")
ALL_BUT_ADMIN: Final = VERBS[:-1]
LISTENING: Final = frozenset({"subscribe"})
FIELDS: Final = ("room", "topics", "verbs")
MAX_ANSWERS: Final = 256  # remembered for each token


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to use `verbs` on resources that match one of `topics`, in rooms that match `room`."""

    room: str
    topics: tuple[str, ...]
    verbs: frozenset[str]


class Grants:
    """The grants of one token."""

    __slots__ = ("_answers", "_grants")

    def __init__(self, grants: Sequence[Grant]) -> None:
        self._grants = tuple(grants)
        self._answers: dict[tuple[str, str, str], bool] = {}  # a worker asks for the same few, thousands of times a second

    @classmethod
    def parse(cls, claims: Any) -> Grants:
        """From the `grants` claim of a token, or from a user.

        Raises:
            Refusal: `bad_request`, when it is not a list of `{room, topics?, verbs?}` with known verbs, and nothing
                else. Absent topics mean all (`**`), absent verbs all but `admin`.
        """
        if not isinstance(claims, (list, tuple)):
            raise Refusal("bad_request", "grants must be a list of {room, topics, verbs}")
        return cls([_parse(claim) for claim in claims])

    @property
    def key(self) -> tuple[Grant, ...]:
        """Equal for grants that allow the same in the same words."""
        return self._grants

    def allows(self, verb: str, room: str, resource: str) -> bool:
        """Whether one grant covers this verb, room and resource. `admin` on the room covers every verb."""
        question = verb, room, resource
        answer = self._answers.get(question)
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[question] = any(
                (verb in grant.verbs or "admin" in grant.verbs) and matcher(grant.room)(room) and matches_any(grant.topics, resource)
                for grant in self._grants
            )
        return answer

    def demand(self, verb: str, room: str, resource: str) -> None:
        """Raises `Refusal` (`not_authorized`) when no grant covers this."""
        if not self.allows(verb, room, resource):
            message = f"this token has no grant for {verb!r} on {resource!r} in the room {room!r}"
            raise Refusal("not_authorized", message, detail={"verb": verb, "resource": resource})

    def touches(self, room: str) -> bool:
        """Whether any grant speaks of this room."""
        return any(matcher(grant.room)(room) for grant in self._grants)

    def admit(self, room: str) -> None:
        """Raises `Refusal` (`not_authorized`) when no grant speaks of this room."""
        if not self.touches(room):
            raise Refusal("not_authorized", f"no grant of this token covers the room {room!r}")

    def may_send(self, room: str) -> bool:
        """Whether any grant for this room is for more than listening."""
        return any(grant.verbs - LISTENING and matcher(grant.room)(room) for grant in self._grants)

    def is_admin(self, room: str) -> bool:
        return any("admin" in grant.verbs and matcher(grant.room)(room) and "**" in grant.topics for grant in self._grants)

    def to_wire(self) -> list[dict[str, Any]]:
        return [{"room": g.room, "topics": list(g.topics), "verbs": sorted(g.verbs)} for g in self._grants]


def _parse(claim: Any) -> Grant:
    if not isinstance(claim, Mapping) or not isinstance(claim.get("room"), str):
        raise Refusal("bad_request", "a grant is a map with a room pattern, for example {room: 'newsroom', verbs: ['publish']}")
    if unknown := set(claim) - set(FIELDS):  # misspelt, what it narrows would count as absent, and that is everything
        raise Refusal("bad_request", f"unknown field {sorted(unknown, key=str)[0]!r} in a grant; a grant has {', '.join(FIELDS)}")
    topics, verbs = claim.get("topics", ["**"]), claim.get("verbs", list(ALL_BUT_ADMIN))
    if not _strings(topics) or not _strings(verbs):
        raise Refusal("bad_request", "topics and verbs of a grant are lists of strings")
    if unknown := set(verbs) - set(VERBS):
        raise Refusal("bad_request", f"unknown verb {sorted(unknown)[0]!r}; verbs are {', '.join(VERBS)}")
    return Grant(check_pattern(claim["room"]), tuple(check_pattern(topic) for topic in topics), frozenset(verbs))


def _strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
