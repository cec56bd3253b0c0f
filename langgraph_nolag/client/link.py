"""One room on a connection: what patterns and graphs are built on."""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import Disconnected, NoLagError
from .approvals import Approvals, Decided, FollowedApproval
from .asking import REQUEST_TIMEOUT, Asking
from .cause import add_lease, add_parent
from .connection import Connection
from .follow import Followed, Follows, Progress, Result
from .incoming import Incoming
from .io import settle_blocking
from .latch import Latch
from .membership import Membership
from .offer import Assigned, Offer
from .offers import Offers
from .outgoing import Outgoing, OutgoingStreams
from .requests import Answer, OnAnswer
from .standing import Part
from .subscription import Gap, Subscription, Subscriptions

log = logging.getLogger("langgraph_nolag")


class RoomLink(Asking):
    """One room, on one connection. From any thread; callbacks run on the I/O thread and must not block.

    Attributes:
        room: the room's name.
        connection: the connection it lives on.
        shut_out: set once something that stood in this room (our presence, an offer) does not any more, although nobody closed it, with the
            reason: the broker refused it in a later session, or the connection ended for good.
    """

    def __init__(self, connection: Connection, room: str) -> None:
        self.room = room
        self.connection = connection
        self.io = connection.io
        self.shut_out: Latch[NoLagError] = Latch()
        self._ids = itertools.count(1)
        # on the I/O thread
        self._holders: Counter[object] = Counter()
        self._left = False  # and nobody has held it since
        self._membership = Membership(self)
        self._follows = Follows(self)
        self._offers = Offers(self)
        self.subscriptions = Subscriptions(self)
        self._approvals = Approvals(self)
        self._outgoing = OutgoingStreams(self)
        self._parts: list[Part] = [self._membership, self._offers, self.subscriptions, self._outgoing, self._follows, self._approvals]
        self._routes: dict[str, Callable[[dict[str, Any]], None]] = {
            "task": self._offers.on_task,
            "unserved": self._offers.on_unserved,
            "cancel": self._offers.on_cancel,
            "tell": self._offers.on_tell,
            "result": self._follows.on_result,
            "progress": self._follows.on_progress,
            "decision": self._approvals.on_decision,
            "kept": self._outgoing.on_kept,
            "expired": self._on_expired,
        }

    def __repr__(self) -> str:
        return f"RoomLink({self.connection.url}/{self.room}, actor={self.actor!r})"

    @property
    def actor(self) -> str:
        """The token's actor; empty before the first session."""
        return self.connection.actor

    @property
    def instance(self) -> str:
        """This connection's own id, the same over its reconnects."""
        return self.connection.instance

    # --- requests -------------------------------------------------------------------------------------------

    def ask(self, frame: dict[str, Any], on_answer: OnAnswer, timeout: float | None, /, *, patient: bool = False) -> None:
        self.connection.ask(frame, on_answer, timeout, patient=patient)

    def send(self, op: str, **fields: Any) -> None:
        """Send what has no answer. While there is no connection it is dropped.

        Raises:
            BufferFull: nothing was sent.
        """
        self.connection.tell(self.frame(op, fields))

    def note(self, op: str, **fields: Any) -> None:
        """`send` for small things that free what others hold, like acknowledgements: never refused."""
        self.connection.tell(self.frame(op, fields), insist=True)

    def frame(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The frame of a request of this room: fields that are None are absent, and `parent` and `lease` are filled in inside handlers."""
        frame = {"op": op, "room": self.room, **{name: value for name, value in fields.items() if value is not None}}
        add_parent(frame, self.room)
        add_lease(frame, self)
        return frame

    def new_id(self) -> str:
        """An id that is unique in the world: this connection's random half, and a number."""
        return f"{self.connection.instance[:20]}-{next(self._ids):x}"

    # --- presence -------------------------------------------------------------------------------------------

    def join(
        self,
        capabilities: Sequence[str] = (),
        max_concurrency: int = 1,
        status: str = "available",
        metadata: Mapping[str, Any] | None = None,
    ) -> concurrent.futures.Future[Answer]:
        """Be present in the room, now and after every reconnect. The future tells when, or why not."""
        membership = {
            "capabilities": list(capabilities),
            "max_concurrency": max_concurrency,
            "status": status,
            "metadata": dict(metadata or {}),
        }
        joined: concurrent.futures.Future[Answer] = concurrent.futures.Future()
        self.connection.io.post(self._membership.join, membership, joined)
        return joined

    def update_presence(self, **fields: Any) -> concurrent.futures.Future[Answer]:
        """Change `status`, `metadata`, `capabilities` or `max_concurrency`, now and, once that is accepted, for later reconnects."""
        fields = {name: value for name, value in fields.items() if value is not None}

        def remember(updated: concurrent.futures.Future[Answer]) -> None:
            if not updated.cancelled() and updated.exception() is None:
                self.connection.io.post(self._membership.remember, fields)

        updated = self.request("presence.update", **fields)
        updated.add_done_callback(remember)
        return updated

    # --- handed-off work ------------------------------------------------------------------------------------

    def dispatch(
        self,
        fields: Mapping[str, Any],
        body: bytes,
        *,
        on_end: Callable[[Result], None],
        on_progress: Callable[[Progress], None] | None = None,
        on_accepted: OnAnswer | None = None,
        timeout: float | None = REQUEST_TIMEOUT,
    ) -> Followed:
        """Dispatch a task and follow it to its end, over reconnects.

        Args:
            fields: of `task.dispatch`, without op, room and body; `task` (the id) is made up where it is absent.
            body: the payload.
            on_end: told once how the task ended; never when the dispatch itself was refused.
            on_progress: told each piece of progress once, in order; what is missing is said by `Progress.gap`.
            on_accepted: told when the dispatch is on disk, or was refused; without it `Followed.accepted` tells.
            timeout: seconds until the dispatch must be accepted.

        Raises:
            BufferFull: nothing was sent.
        """
        frame = self.frame("task.dispatch", fields)
        if "task" not in frame:
            frame["task"] = self.new_id()
        frame["body"] = body
        followed = Followed(self._follows, frame["task"], on_end, on_progress, on_accepted)
        self._follows.dispatch(followed, frame, timeout, len(body))
        return followed

    def follow(self, task: str, *, on_end: Callable[[Result], None], on_progress: Callable[[Progress], None] | None = None) -> Followed:
        """Follow a task that was dispatched before, by whomever. A task that the broker does not know ends with `TaskNotFound`."""
        followed = Followed(self._follows, task, on_end, on_progress, None)
        self._follows.follow(followed)
        return followed

    def serve(
        self,
        *,
        kind: str = "handoff",
        types: Sequence[str] | None = None,
        capabilities: Sequence[str] = (),
        slots: int = 1,
        specs: Mapping[str, bytes] | None = None,
        on_task: Callable[[Assigned], None],
        on_cancel: Callable[[Assigned, str], None] | None = None,
        on_tell: Callable[[Assigned, bytes], None] | None = None,
        on_lost: Callable[[Assigned], None] | None = None,
    ) -> Offer:
        """Offer to run tasks, now and after every reconnect. The room is joined where it is not yet.

        Args:
            kind: the market: `handoff`, `tool` or `node`.
            types: task types; None: every type of the kind.
            capabilities: what this worker can do.
            slots: tasks at a time.
            specs: for tools, their descriptions.
            on_task: a task is ours, until it is completed, failed, released or lost.
            on_cancel: the task was cancelled (with the reason); finish it in any way, within `counts_until` where it has some. Told again
                when that has passed.
            on_tell: something was said to the task.
            on_lost: the task is not ours any more; nothing of it counts.
        """
        offer = Offer(self._offers, kind, types, capabilities, slots, specs, on_task, on_cancel, on_tell, on_lost)
        self.connection.io.post(self._offers.start, offer)
        return offer

    def own(self, task: str, on_lost: Callable[[str], None]) -> None:
        """A task that we hold because we began it (`task.begin`): be told once, with the reason, when it was ended or taken over."""
        self._offers.own(task, on_lost)

    def disown(self, task: str) -> None:
        """It has ended."""
        self._offers.disown(task)

    def follow_approval(self, approval: str, on_decision: Callable[[Decided], None]) -> FollowedApproval:
        """Be told, once, what becomes of an approval, at once if it is decided already."""
        followed = FollowedApproval(self._approvals, approval, on_decision)
        self.connection.io.post(self._approvals.add, followed)
        return followed

    # --- the log --------------------------------------------------------------------------------------------

    def subscribe(
        self,
        types: str = "**",
        *,
        subject: str | None = None,
        since: int | None = None,
        since_time: float | None = None,
        cursor: str | None = None,
        epoch: str | None = None,
        retained: bool = False,
        bodies: bool = True,
        on_events: Callable[[list[dict[str, Any]], int], None],
        on_gap: Callable[[Gap], None] | None = None,
        on_message: Callable[[dict[str, Any]], None] | None = None,
        on_failed: Callable[[NoLagError], None] | None = None,
    ) -> Subscription:
        """Read the room's log from `since` (None: from now) and on, over reconnects, without a hole or a repeat.

        Args:
            types: pattern of event types.
            subject: pattern of subjects.
            since: everything after this sequence comes first.
            since_time: in place of `since`: everything from this moment on, in seconds since 1970.
            cursor: begin after what was acknowledged under this name; `since` is where it begins the first time.
            epoch: the epoch that `since` belongs to.
            retained: begin with the retained messages.
            bodies: False: events without their bodies.
            on_events: told matching events (as in the protocol), and the sequence that they reach to.
            on_gap: told what can't be had any more.
            on_message: told QoS 0 messages.
            on_failed: told once that the subscription was refused or is over.
        """
        subscription = Subscription(
            self,
            types,
            subject,
            since,
            since_time,
            cursor,
            epoch,
            retained,
            bodies,
            on_events=on_events,
            on_gap=on_gap,
            on_message=on_message,
            on_failed=on_failed,
        )
        self.connection.io.post(self.subscriptions.start, subscription)
        return subscription

    # --- streams --------------------------------------------------------------------------------------------

    def open_stream(self, within: float | None = REQUEST_TIMEOUT, **fields: Any) -> concurrent.futures.Future[Outgoing]:
        """Open a stream for writing, or take one over. The future holds it, or the refusal.

        Args:
            within: seconds until it must be open; None: for ever.
            fields: of `stream.open`; `stream` (the id) is made up where it is absent.
        """
        opened: concurrent.futures.Future[Outgoing] = concurrent.futures.Future()

        def on_answer(answer: Answer | None, error: NoLagError | None) -> None:
            stream = None if answer is None else Outgoing(self._outgoing, answer["stream"], answer["token"], answer["n"])
            if stream is not None:
                self._outgoing.add(stream)
            settle_blocking(opened, stream, error)

        frame = self.frame("stream.open", {**fields, "stream": fields.get("stream") or self.new_id()})
        self.connection.io.post(self.ensure_joined)
        self.connection.ask(frame, on_answer, within)
        return opened

    def read_stream(self, incoming: Incoming) -> None:
        """Begin to read a stream; it goes on over reconnects until it ends or is closed."""
        self.connection.io.post(self.subscriptions.start, incoming)

    # --- for the parts, on the I/O thread -------------------------------------------------------------------

    def attach(self, part: Part, routes: Mapping[str, Callable[[dict[str, Any]], None]]) -> bool:
        """Add a part of one's own, with the kinds of pushes that it takes: not where another part takes one of them. On the I/O thread."""
        if not self._routes.keys().isdisjoint(routes):
            return False
        self._parts.append(part)
        self._parts.sort(key=lambda part: part.phase)
        self._routes.update(routes)
        return True

    def detach(self, part: Part, kinds: Sequence[str]) -> None:
        """Take a part out again that was attached with these kinds."""
        self._parts.remove(part)
        for kind in kinds:
            self._routes.pop(kind, None)

    def ensure_joined(self) -> None:
        """Serving needs membership: join with what is known, if nobody has. What was left stays left: the broker refuses what needs it."""
        if not self._left:
            self._membership.ensure()

    def restore(self) -> None:
        """A session has begun: ask for everything again."""
        for part in list(self._parts):
            part.restore()

    def _on_expired(self, frame: dict[str, Any]) -> None:
        """We were silent for a whole lease, but the connection lives: join again. What the connection has, it still has."""
        log.warning("room %s had given %s up for dead; joining it again", self.room, self.actor)
        for part in list(self._parts):
            if part is not self.subscriptions:
                part.restore()

    def on_push(self, frame: dict[str, Any]) -> None:
        route = self._routes.get(frame["push"])
        if route is not None:
            route(frame)

    def on_value_lost(self, frame: dict[str, Any], error: NoLagError) -> None:
        """A push whose large value can't be had: what it is about can't go on as if it had come."""
        log.error("the value of a %s in room %s can't be had: %s", frame["push"], self.room, error)
        kind = frame["push"]
        if kind == "task":
            failure = {"error": {"type": type(error).__name__, "message": str(error)}, "retry": error.retryable}
            fields = {"op": "task.fail", "room": self.room, "task": frame["task"], "token": frame["token"], **failure}
            self.connection.ask(fields, lambda answer, error: None, None, 0, insist=True)
        elif kind == "result":
            self.on_push({**frame, "state": "unknown", "body": None, "reason": error})
        elif kind == "progress":
            self.on_push({**frame, "gap": [frame["n"], frame["n"]]})
        elif kind == "decision":
            self.on_push({**frame, "decision": None, "reason": error})

    def on_ended(self, error: NoLagError) -> None:
        """It is closed to us: everybody who waits in this room is told."""
        self.shut_out.set(error)
        self._end(error)

    def _end(self, error: NoLagError) -> None:
        for part in list(self._parts):
            part.on_ended(error)

    def leave(self, left: concurrent.futures.Future[None] | None = None) -> None:
        self._follows.send_acks()
        self._membership.leave(left)

    # --- holding --------------------------------------------------------------------------------------------

    def hold(self, by: object = None) -> RoomLink:
        """One more user of this link, until it calls `close`.

        Args:
            by: who it is: counts once, however often it holds. None: counts every time.
        """
        self.connection.io.post(self._hold, by)
        return self

    def close(self, by: object = None) -> concurrent.futures.Future[None]:
        """Let go, as who held it. When the last user does, the room is left, and what is served, read or followed in it ends; the
        connection stays with whoever made it. The future is done when the broker has heard it. One that is away can't: it lets go of us
        when the grace of a reconnect has passed."""
        left: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.connection.io.post(self._let_go, by, left)
        return left

    def _hold(self, by: object) -> None:
        self._left = False
        self._holders[by] = 1 if by is not None else self._holders[by] + 1

    def _let_go(self, by: object, left: concurrent.futures.Future[None]) -> None:
        self._holders -= Counter((by,))  # whose count is 0 is no holder
        if self._holders:
            settle_blocking(left, None, None)
            return
        self._left = True
        self.leave(left)
        self._end(Disconnected(f"room {self.room} was left", detail={"closed": True}))
