"""Says what a stored turn has to say, in order: replies and pushes to connections, events to subscribers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..core.turn import Acknowledged, Effect, Ephemeral, Push, Reply, ScanAt, Then, Turn
from ..wire.codec import pack
from ..wire.codes import Refusal
from .bodies import BodyCache, Encoder, NotHere
from .fetching import SCAN_BYTES, Fetcher
from .hosted import HostedRoom, Said
from .logs import get_logger, trace
from .readers import Spawn
from .then import then

log = get_logger("speaker")

Send = Callable[[bytes], None]

FRAMES: Final = (Reply, Push)  # nearly all effects


class Speaker:
    """`sinks` takes encoded frames, by session; effects for a session that is gone are dropped. `broke` is told of a room whose events
    can't be published."""

    def __init__(self, fetcher: Fetcher, cache: BodyCache, spawn: Spawn, broke: Callable[[HostedRoom, Exception], None]) -> None:
        self.sinks: dict[str, Send] = {}
        self._encoder = Encoder(cache)
        self._fetcher = fetcher
        self._cache = cache
        self._spawn = spawn
        self._broke = broke

    def say(self, hosted: HostedRoom, turn: Turn) -> None:
        """Carry out a turn that is stored (or had nothing to store)."""
        for event in turn.events:
            if event.body is not None:
                self._cache.put(hosted.name, event.seq, event.body)
        hosted.unsaid.append(Said(turn))
        if len(hosted.unsaid) == 1:  # otherwise an earlier turn waits for bodies, and this one behind it
            self._go_on(hosted, {})

    def say_standing(self, hosted: HostedRoom, replies: list[Reply]) -> None:
        """Say what waits for nothing that is decided, or still to be said."""
        for reply in replies:
            if (send := self.sinks.get(reply.session)) is not None:
                send(self._encoder.encode({"id": reply.id, "ok": reply.ok, "seq": reply.seq, "epoch": hosted.feed.epoch}))

    def _go_on(self, hosted: HostedRoom, fetched: dict[Any, Any], fetched_for: int | None = None) -> None:
        """Carry out what waits, as far as its bodies are here. `fetched_for` is the effect that they were fetched for first."""
        while hosted.unsaid:
            said = hosted.unsaid[0]
            self._encoder.focus(hosted.name, said.events, fetched)
            try:
                self._carry_out(hosted, said, fetched)
            except NotHere:
                if said.next != fetched_for:
                    at_once = self._fetcher.fetch_at_once(hosted.name, _frames(hosted, said))
                    if at_once is None:
                        self._fetch(hosted, said)
                        return
                    fetched, fetched_for = at_once, said.next
                    continue
                self._refuse(said.effects[said.next], self._too_large())
                said.next += 1
                continue
            except Exception as error:  # a defect in what one command says must not silence all others
                log.error("an effect could not be carried out", room=hosted.name, trace=trace(error))
                self._refuse(said.effects[said.next], Refusal("internal", "a defect in the broker", maybe_applied=True))
                said.next += 1
                continue
            try:
                hosted.feed.publish(said.events)
            except Exception as error:  # whoever listens comes back, and reads on from where it was
                hosted.unsaid.clear()
                self._broke(hosted, error)
                return
            hosted.unsaid.popleft()
            fetched, fetched_for = {}, None  # the next turn may have written what was read for this one

    def _fetch(self, hosted: HostedRoom, said: Said) -> None:
        whole, first = isinstance(said.effects[said.next], Push), said.next
        fetching = self._fetcher.fetch(hosted.name, _frames(hosted, said), whole)
        self._spawn(then(fetching, lambda fetched: self._go_on(hosted, fetched, first)))

    def _too_large(self) -> Refusal:
        text = "the answer is too large: ask for less, or without bodies"
        return Refusal("message_too_large", text, detail={"max": self._fetcher.limit})

    def refuse(self, session: str, request: int, refusal: Refusal) -> None:
        """Say why a request has no answer, if anybody is there to hear it."""
        if (send := self.sinks.get(session)) is not None:
            send(pack({"id": request, "err": refusal.to_wire()}))

    def _refuse(self, effect: Effect, refusal: Refusal) -> None:
        """Say instead of an effect why it can't be said."""
        if isinstance(effect, Reply | Then) and effect.id is not None:
            self.refuse(effect.session, effect.id, refusal)
        else:
            log.error("a push is lost", reason=refusal.message, effect=type(effect).__name__)

    def _carry_out(self, hosted: HostedRoom, said: Said, fetched: dict[Any, Any]) -> None:
        effects, sinks, encode, limit = said.effects, self.sinks, self._encoder.encode, self._fetcher.limit
        while said.next < len(effects):
            effect = effects[said.next]
            if isinstance(effect, FRAMES):
                if (send := sinks.get(effect.session)) is not None:
                    frame = _frame(hosted, said, effect)
                    if fetched:
                        _say_end_of_scan(frame, fetched)
                    encoded = encode(frame)
                    if len(encoded) > limit and isinstance(effect, Reply):
                        self._refuse(effect, self._too_large())
                    else:
                        send(encoded)
            elif isinstance(effect, Ephemeral):
                hosted.feed.ephemeral(effect.topic, effect.frame)
            elif isinstance(effect, Acknowledged):
                hosted.feed.acknowledged(effect)
            elif effect.session in sinks:
                effect.do()
            said.next += 1


def _frames(hosted: HostedRoom, said: Said) -> list[dict[str, Any]]:
    """What is left to say."""
    return [_frame(hosted, said, effect) for effect in said.effects[said.next :] if isinstance(effect, Reply | Push)]


def _frame(hosted: HostedRoom, said: Said, effect: Reply | Push) -> dict[str, Any]:
    if isinstance(effect, Push):
        return effect.frame
    if effect.ok is None:
        return {"id": effect.id, "err": effect.err}
    return {"id": effect.id, "ok": effect.ok, "seq": said.last if effect.seq is None else effect.seq, "epoch": hosted.feed.epoch}


def _say_end_of_scan(frame: dict[str, Any], fetched: dict[Any, Any]) -> None:
    """Whether a scan reached its end is known only now: it stops at its limit, or at so many bytes."""
    ok = frame.get("ok")
    scan = ok.get("items") if isinstance(ok, dict) else None
    if isinstance(scan, ScanAt) and scan in fetched:
        items = fetched[scan]
        size = sum(len(value or b"") for _, value in items)
        assert ok is not None
        ok["end"] = len(items) < scan.limit and size < SCAN_BYTES
