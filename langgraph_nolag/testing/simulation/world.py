"""One seed: a room, those who use it, what goes wrong, and whether the promises held."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from time import process_time
from typing import Any, Final
from zlib import crc32

import msgpack

from nolag_broker.core.event import Event
from nolag_broker.core.limits import Limits
from nolag_broker.core.room import Room
from nolag_broker.core.turn import Env, Turn
from nolag_broker.settings import Settings
from nolag_broker.wire.blobs import referred

from ..checker import check
from ..history import History
from ..log_rules import LogRules, Violation
from . import hoarding, keeping, recording, roles, streaming
from .client import ROOM, Client, Refused
from .clock import Stuck, run
from .disk import Disk, SimulatedEngine, Weather
from .faults import Faults
from .host import Host, Moment, SimulatedNode
from .network import Network

CAST: Final[dict[str, roles.Role]] = {
    "worker1": roles.worker,
    "worker2": roles.worker,
    "dispatcher1": roles.dispatcher,
    "dispatcher2": roles.dispatcher,
    "scheduler": roles.scheduler,
    "editor1": roles.editor,
    "editor2": roles.editor,
    "publisher1": roles.publisher,
    "asker": roles.asker,
    "decider1": roles.decider,
    "decider2": roles.decider,
    "reader": roles.reader,
    "sharer1": roles.sharer,
    "sharer2": roles.sharer,
    "hoarder": hoarding.hoarder,
    "keeper": keeping.keeper,
    "recorder1": recording.recorder,
    "recorder2": recording.recorder,
    "streamer": streaming.streamer,
    streaming.READER: streaming.follower,
}
SETTINGS: Final = {"engine": "memory", "lease": 3.0, "disconnect_grace": 1.0, "body_cache": 4096, "trim_every": 2.0, "keep_uploads": 8.0}
OPERATIONS: Final = 170  # that are begun, of all clients; follow-ups come on top
THINK: Final = 0.35  # seconds between two operations of a client, on average
PATIENCE: Final = 300.0  # seconds after the last fault within which everything has to come to rest
MAX_UNEXPECTED: Final = 3  # told in full


@dataclass(slots=True)
class Report:
    """How a seed went.

    Attributes:
        violations: broken promises; empty when all is well.
        faults: of each kind.
        events: what happened: messages that arrived or were lost, commits, faults.
        log: events of the room.
        seconds, cpu: that passed in the simulation, and that it took.
        digest: of the log; the same seed gives the same.
    """

    seed: int
    violations: list[Violation] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    events: int = 0
    log: int = 0
    operations: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    digest: int = 0


class World:
    """What the parts of a simulation share."""

    def __init__(
        self, seed: int, operations: int, cast: Mapping[str, roles.Role], engine: type[SimulatedEngine], node: type[SimulatedNode]
    ) -> None:
        self.cast = cast
        self.chance = Random(seed)  # noqa: S311 - it is to be repeatable
        self.settings = Settings.model_validate({**SETTINGS, "log_count": self.chance.choice((None, None, 20))})
        self.history = History()
        self.rules = LogRules()
        self.log: list[Event] = []
        self.violations: list[Violation] = []
        self.faults: Counter[str] = Counter()
        self.commits = 0
        self.network = Network(self.chance)
        self.weather = Weather(self.chance)
        self.moment = Moment(self.chance)
        self.disk = Disk(self._stored)
        self.host = Host(self.disk, self.weather, self.moment, self.settings, engine, node, self._restart_broker)
        self.clients: dict[str, Client] = {}
        self.cursors: dict[str, int] = {}
        self.asked: list[str] = []
        self.read: dict[str, streaming.Read] = {}  # of streams
        self.unread: set[int] = set()  # messages that never reached their receiver
        self.published: set[int] = set()
        self.dealt: set[int] = set()  # to a group, and arrived
        self._acknowledged: set[int] = set()
        self._left = operations
        self._all_begun = asyncio.Event()
        self._names: Counter[str] = Counter()
        self._limits = Limits(lease=self.settings.lease, disconnect_grace=self.settings.disconnect_grace)
        self._shadow = Room(ROOM, "shadow", self._limits)
        self._folded: dict[str, bytes | None] = {}

    # -- for roles and clients

    async def next_operation(self, client: Client) -> bool:
        """After a while of thinking, whether there is anything left to do."""
        await asyncio.sleep(self.chance.expovariate(1 / THINK))
        self._left -= 1
        if self._left <= 0:
            self._all_begun.set()
        return self._left >= 0

    def name(self, kind: str) -> str:
        self._names[kind] += 1
        return f"{kind}{self._names[kind]}"

    def body(self) -> bytes:
        """One that nobody else has; some are too large for the broker's memory of bodies."""
        return self.name("body").encode() + b"." * self.chance.choice((0, 0, 0, 400))

    def refused(self, refused: Refused, *expected: str) -> None:
        """A refusal that the role can make nothing of is a violation."""
        if refused.code not in expected and not refused.maybe_applied:
            self.violations.append(Violation("refusal", str(refused)))

    def acknowledged_in_group(self, seq: int) -> None:
        """The group was answered that it has acknowledged this: it must be on disk, with all that was before."""
        self._acknowledged.add(seq)
        if undone := self._dealt_again(self._acknowledged):
            self.violations.append(Violation("group", f"{undone[:5]} were acknowledged, and will be dealt again"))

    def _dealt_again(self, messages: set[int]) -> list[int]:
        """Of these, what a broker that starts now would deal to the group. (What retention dropped is nobody's any more.)"""
        image = self.disk.synced.image(ROOM)
        if image is None:
            return []
        row = next((row for key, row in image.heads.items() if key.startswith("group/")), None)
        *_, through, open, ahead = (0, [], []) if row is None else msgpack.unpackb(row)
        return sorted(seq for seq in messages if seq >= image.first_sequence and (seq in open or (seq > through and seq not in ahead)))

    def _never_dealt(self) -> list[int]:
        """What the group has passed over."""
        image = self.disk.synced.image(ROOM)
        return [] if image is None else sorted(seq for seq in self.published - self.dealt if seq >= image.first_sequence)

    def broke(self, error: BaseException) -> None:
        """A defect of the simulation, or of what it runs."""
        self.violations.append(Violation("defect", repr(error)))

    def said(self, sequence: int, what: str) -> None:
        """A client hears of this sequence."""
        if sequence > self.rules.seq:
            self.violations.append(Violation("early", f"{what} speaks of {sequence}, on disk is {self.rules.seq}"))

    def hit(self, fault: str) -> None:
        self.faults[fault] += 1

    # -- for faults

    def crash(self) -> None:
        weather = self.weather
        self.host.crash()
        self.faults["commit lost"] += weather.lost_commits
        self.faults["commit stored and not said"] += weather.unsaid_commits
        weather.lost_commits = weather.unsaid_commits = 0
        self._compare()

    def restart(self, actor: str) -> None:
        """The process is killed; another one takes its place."""
        if (client := self.clients.get(actor)) is not None:
            client.kill()
        client = self.clients[actor] = Client(self, actor, self.name(actor))
        self.cast[actor](client)

    def _restart_broker(self) -> None:
        self.weather.lost_commits = self.weather.unsaid_commits = 0
        asyncio.get_running_loop().call_later(self.chance.uniform(0.01, 1.0), self.host.start)

    # -- what must hold

    def _stored(self, room: str, turn: Turn) -> None:
        """After every commit: the log keeps its rules, and is folded."""
        self.commits += 1
        for event in turn.events:
            self.log.append(event)
            self.rules.event(event)
            if event.type == "inbox.sent":
                self.unread.add(event.seq)
            elif event.type == "topic.published":
                self.published.add(event.seq)
            self._shadow.apply(event)
            self._refers_to_what_is_there(event)

    def _refers_to_what_is_there(self, event: Event) -> None:
        hash = referred(event.body, event.ct)
        if hash is not None and not self.disk.synced.holds(ROOM, hash):
            self.violations.append(Violation("value", f"event {event.seq} refers to a large value that is not on disk"))

    def _compare(self) -> None:
        """What is on disk is the fold of what is in the log, and what can be read of the log has its large values."""
        for event in self.disk.synced.readable(ROOM):
            self._refers_to_what_is_there(event)
        self._folded.update(self._shadow.take(rows=True).heads)
        folded = {key: row for key, row in self._folded.items() if row is not None}
        stored = {key: row for key, row in self._rows().items() if not key.startswith(("client/", "group/"))}
        if folded != stored:
            differ = sorted(key for key in folded.keys() | stored.keys() if folded.get(key) != stored.get(key))
            self.violations.append(Violation("fold", f"at {self.rules.seq} these rows are not the fold of the log: {differ[:5]}"))

    def _rows(self) -> dict[str, bytes]:
        """What a broker would find that starts now: the rows on disk, and the fold of the log beyond them."""
        image = self.disk.synced.image(ROOM)
        if image is None:
            return {}
        wall = self.log[-1].time if self.log else 0.0
        room = Room.recover(ROOM, image.epoch, image.folded, image.heads, Env(0.0, wall, lambda: 0.5, lambda: ""), self._limits)
        room.replay(self.log[image.folded :])
        rows = {**image.heads, **room.take(rows=True).heads}
        return {key: row for key, row in rows.items() if row is not None}

    async def play(self) -> None:
        """Begin, let things go wrong until everything was asked, then heal and come to rest."""
        self.host.start()
        for actor in self.cast:
            self.restart(actor)
        faults = Faults(self)
        going_wrong = asyncio.get_running_loop().create_task(faults.run())
        await self._all_begun.wait()
        going_wrong.cancel()
        await asyncio.sleep(3.1)  # until what was to last a while has
        faults.heal()
        await self._rest()
        self._compare()
        self.host.crash()

    async def _rest(self) -> None:
        """Every task ends, every request is answered, every reader comes to the end of the log."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while what := self._unfinished():
            if asyncio.get_running_loop().time() > deadline:
                self.violations.append(Violation("stuck", f"{PATIENCE:g} s after the last fault: {what}"))
                return
            await asyncio.sleep(1.0)

    def _unfinished(self) -> str:
        waiting = [client.name for client in self.clients.values() if client.waiting]
        if waiting:
            return f"no answer for {waiting}"
        open_tasks = [name for name, task in self.rules.tasks.items() if task.end is None]
        if open_tasks:
            return f"no end of {open_tasks[:5]}"
        if behind := [reader for reader, through in self.cursors.items() if through < self.rules.seq]:
            return f"{behind} did not come to {self.rules.seq}"
        if self.unread:
            return f"unread: {sorted(self.unread)[:5]}"
        if self.rules.chunks:
            return f"no end of the streams {sorted(self.rules.chunks)[:5]}"
        if unread := [stream for stream, read in self.read.items() if not read.ended]:
            return f"not read to the end: {unread[:5]}"
        if missed := self._dealt_again(self.published) or self._never_dealt():
            return f"not acknowledged by their group: {missed[:5]}"
        return ""

    def judge(self) -> list[Violation]:
        """Everything that is wrong, once the play is over."""
        found = [*self.violations, *check(self.history, self.log)]
        found.extend(Violation("defect", repr(error)) for error in self.host.unexpected[:MAX_UNEXPECTED])
        return found


def _broke(world: World, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A callback raised: nobody else would say so."""
    if "handle" in context:
        world.host.unexpected.append(context.get("exception") or RuntimeError(context["message"]))


def simulate(
    seed: int,
    operations: int = OPERATIONS,
    *,
    cast: Mapping[str, roles.Role] = CAST,
    engine: type[SimulatedEngine] = SimulatedEngine,
    node: type[SimulatedNode] = SimulatedNode,
) -> Report:
    """Play one seed to its end, in some tens of milliseconds.

    Args:
        operations: that clients begin.
        cast: actors and what they do; a role of one's own is a function like those of `roles`.
        engine, node: to plant a fault of one's own.
    """
    report, begin = Report(seed), process_time()

    async def play() -> World:
        world = World(seed, operations, cast, engine, node)
        asyncio.get_running_loop().set_exception_handler(partial(_broke, world))
        try:
            await world.play()
        except Stuck:
            world.violations.append(Violation("stuck", "nothing will ever wake anything"))
        report.seconds = asyncio.get_running_loop().time()
        return world

    world = run(play())
    report.violations = world.judge()
    report.faults = world.faults
    report.faults["message lost"] = world.network.lost
    report.faults["log trimmed"] = world.weather.trims
    report.events = world.network.delivered + world.commits + sum(world.faults.values())
    report.log, report.operations = len(world.log), len(world.history.operations)
    for event in world.log:
        report.digest = crc32(event.encoded, report.digest)
    report.cpu = process_time() - begin
    return report
