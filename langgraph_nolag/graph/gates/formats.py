"""One gate, every inbox: what a gate shows, and the answers it understands.

Clients do not agree on a format, so a gate publishes all of them in one value:

    LangChain's `HumanInTheLoopMiddleware`   action_requests, review_configs          answer {"decisions": [d]}
    the same, one call at a time              type, tool_call_id, name, args, …        answer d
    Agent Inbox, agent-chat-ui                action_request, config, description      answer [{"type": "accept", …}]

`normalise` takes each of these answers to one shape. Two rules keep it safe: what is approved are the arguments that were
shown (one inbox sends them back as strings), and nothing but an explicit approval approves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

DECISIONS: Final = ("approve", "edit", "reject", "respond")
MARKER: Final = "nolag_decision"
"""`{"nolag_decision": <approval id>}`: the answer that says "it was decided in the room; look there"."""

_AGENT_INBOX: Final = {"accept": "approve", "ignore": "reject", "response": "respond"}


class Approve(TypedDict):
    """Do it, with the arguments that were shown."""

    type: Literal["approve"]


class Edit(TypedDict):
    """Do it, with these arguments."""

    type: Literal["edit"]
    args: dict[str, Any]
    message: NotRequired[str]


class Reject(TypedDict):
    """Don't."""

    type: Literal["reject"]
    message: NotRequired[str]


class Respond(TypedDict):
    """Don't; here is an answer instead."""

    type: Literal["respond"]
    message: str


class Decided(TypedDict):
    """It was decided in the room."""

    nolag_decision: str


Vote = Approve | Edit | Reject | Respond
Answer = Vote | Decided


def check_allow(allow: Sequence[str]) -> tuple[str, ...]:
    """Raises ValueError for an empty list and for what is not a decision."""
    if isinstance(allow, str) or not allow or (unknown := [name for name in allow if name not in DECISIONS]):
        what = "is empty" if not allow else f"is {allow!r}" if isinstance(allow, str) else f"names {unknown[0]!r}"
        raise ValueError(f"allow {what}; it is a list of {', '.join(DECISIONS)}")
    return tuple(dict.fromkeys(allow))


def published(
    approval: str, room: str, action: str, args: Mapping[str, Any], allow: Sequence[str], description: str | None
) -> dict[str, Any]:
    """The interrupt's value: what is to be decided, in all formats at once."""
    shown = dict(args)
    text = description or f"{action} waits for a decision"
    return {
        "type": "tool_approval",
        "tool_call_id": approval,
        "name": action,
        "args": shown,
        "description": text,
        "action_requests": [{"name": action, "args": shown, "arguments": shown, "description": text}],
        "review_configs": [{"action_name": action, "allowed_decisions": list(allow)}],
        "action_request": {"action": action, "args": shown},
        "config": {
            "allow_accept": "approve" in allow,
            "allow_edit": "edit" in allow,
            "allow_respond": "respond" in allow,
            "allow_ignore": "reject" in allow,
        },
        "nolag": {"approval": approval, "room": room, "allow": list(allow)},
    }


def approval_of(value: Any) -> str | None:
    """The approval behind an interrupt's value; None when it is not a gate's."""
    gate = value.get("nolag") if isinstance(value, Mapping) else None
    approval = gate.get("approval") if isinstance(gate, Mapping) else None
    return approval if isinstance(approval, str) else None


def normalise(answer: Any, action: str, allow: Sequence[str]) -> Answer:
    """An answer in any known format as one decision within `allow`, or as the marker.

    Free text is `respond` where that is allowed, else `reject`: whatever it says, it never approves.

    Raises:
        ValueError: the answer is none of the formats, or not allowed; says what would be.
    """
    if isinstance(answer, Mapping) and MARKER in answer:
        approval = answer[MARKER]
        if len(answer) != 1 or not isinstance(approval, str):
            raise ValueError(f"the answer {{{MARKER!r}: id}} names an approval and nothing else")
        return {"nolag_decision": approval}
    decision = _only(answer)
    if isinstance(decision, str):
        return _free_text(decision, allow)
    if not isinstance(decision, Mapping) or not isinstance(decision.get("type"), str):
        raise ValueError(f"not a decision: {_short(answer)}; {_expected(allow)}")
    given: str = decision["type"]
    kind = _AGENT_INBOX.get(given, given)
    if kind == "respond" and kind not in allow:
        return _free_text(_message(decision, kind) or "", allow)
    if kind not in allow:
        raise ValueError(f"{decision['type']!r} is not allowed here; {_expected(allow)}")
    message = _message(decision, kind)
    if kind == "approve":
        return {"type": "approve"}
    if kind == "respond":
        if message is None:
            raise ValueError("a 'respond' needs a message")
        return {"type": "respond", "message": message}
    if kind == "reject":
        return {"type": "reject", "message": message} if message is not None else {"type": "reject"}
    args = _edited(decision, action)
    return {"type": "edit", "args": args, "message": message} if message is not None else {"type": "edit", "args": args}


def _only(answer: Any) -> Any:
    """The one decision inside the lists that inboxes wrap it in."""
    if isinstance(answer, Mapping) and "decisions" in answer:
        answer = answer["decisions"]
    if isinstance(answer, (list, tuple)):
        if len(answer) != 1:
            raise ValueError(f"a gate asks for one decision; this answer has {len(answer)}")
        return answer[0]
    return answer


def _free_text(text: str, allow: Sequence[str]) -> Vote:
    if "respond" in allow:
        return {"type": "respond", "message": text}
    if "reject" in allow:
        return {"type": "reject", "message": text}
    raise ValueError(f"free text is no decision here; {_expected(allow)}")


def _message(decision: Mapping[str, Any], kind: str) -> str | None:
    """The words of a decision: `message`; Agent Inbox puts those of a response into `args`."""
    message = decision.get("message")
    if message is None and kind in ("respond", "reject"):
        message = decision.get("args")
    if message is None or isinstance(message, str):
        return message
    if kind == "reject":
        return None  # an inbox that sends the request back with an "ignore"
    raise ValueError(f"the message of a decision is text, not {type(message).__name__}")


def _edited(decision: Mapping[str, Any], action: str) -> dict[str, Any]:
    """The new arguments. An edit may name the action it edits; it can't turn it into another."""
    if "edited_action" in decision:
        request = decision["edited_action"]
        if not isinstance(request, Mapping) or "args" not in request:
            raise ValueError("an 'edited_action' is {'name': …, 'args': {…}}")
    else:  # the arguments themselves, or Agent Inbox's {action, args} around them
        request = decision.get("args")
        if not isinstance(request, Mapping) or request.keys() != {"action", "args"} or not isinstance(request["action"], str):
            request = {"args": request}
    named = request.get("name", request.get("action", action))
    if named != action:
        raise ValueError(f"an edit keeps the action {action!r}; this one names {named!r}")
    edited = request["args"]
    if not isinstance(edited, Mapping) or not all(isinstance(name, str) for name in edited):
        raise ValueError("an 'edit' needs the new arguments, as a map of names to values")
    return dict(edited)


def _expected(allow: Sequence[str]) -> str:
    return f"answer with {{'type': …}}, one of {', '.join(allow)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
