"""What the processes of a simulation want from their room. Each role mixes requests by the seed's chance, each with a body of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from nolag_broker.core.event import Event

from .client import Client, Refused

Role = Callable[[Client], None]
SAY: list[tuple[str, dict[str, Any]]] = [
    ("event.emit", {"type": "note"}),
    ("topic.publish", {"topic": "t"}),
    ("inbox.send", {"to": "reader", "keep": True}),
]
RATES = ([1, 1.0], [2, 5.0], [3, 3.0])  # of each key, and what one of them is sometimes changed to
CRON = ("* * * * * *", "*/2 * * * * *", "*/15 * * * *")
GROUP = {"group": "readers", "types": "topic.published", "subject": "t"}
RETRY = {"initial": 0.1, "factor": 2.0, "maximum": 1.0, "jitter": 0.5}


def worker(client: Client) -> None:
    """Serves tasks: completes most, fails and hands back some, and sometimes takes longer than its lease."""
    world, chance = client.world, client.world.chance
    holding: dict[str, int] = {}
    slots = chance.randint(1, 4)

    def serve() -> None:
        client.ask_here("room.join")
        named = dict(holding)
        client.ask_here(
            "task.serve", partial(served, named), offer=1, slots=slots, holding=[[task, token] for task, token in named.items()]
        )

    def served(named: dict[str, int], ok: dict[str, Any]) -> None:
        for task in ok["lost"]:
            if holding.get(task) == named[task]:
                del holding[task]
            done_with(task, named[task])

    def done_with(task: str, token: int) -> None:
        """What is not its own any more has its slot until then."""
        client.ask_here("task.release", task=task, token=token)

    def assigned(frame: dict[str, Any]) -> None:
        if holding.get(frame["task"]) != frame["token"]:
            holding[frame["task"]] = frame["token"]
            client.run(work(frame["task"], frame["token"]))

    async def work(task: str, token: int) -> None:
        await asyncio.sleep(chance.expovariate(4.0))
        outcome = chance.random()
        try:
            if chance.random() < 0.3:
                put = [f"checkpoint/{task}/{token}", world.body(), chance.random() < 0.5]
                await client.ask("record.write", puts=[put], lease=[task, token])
            if chance.random() < 0.3 and not (await client.ask("effect.get", task=task, token=token, key="mail"))["found"]:
                await client.ask("effect.put", task=task, token=token, key="mail", body=world.body())
            if outcome < 0.85:
                gates = [gate()] if outcome < 0.1 else []
                await client.ask(
                    "task.complete", task=task, token=token, body=f"{task} by {client.name} under {token}".encode(), approvals=gates
                )
            elif outcome < 0.95:
                await client.ask("task.fail", task=task, token=token, error={"type": "E"}, body=world.body(), retry=outcome < 0.93)
            else:
                await client.ask("task.release", task=task, token=token)
        except Refused as refused:
            world.refused(refused, "stale_lease", "task_finished")
            done_with(task, token)
        if holding.get(task) == token:
            del holding[task]

    def gate() -> dict[str, Any]:
        approval = world.name("gate")
        world.asked.append(approval)
        return {"approval": approval, "action": "pay", "body": world.body(), "allow": ["approve", "reject"]}

    client.connected.append(serve)
    client.pushed["task"] = assigned

    def cancelled(frame: dict[str, Any]) -> None:
        """It goes on, and is refused; or it lets go while it has time, or does not."""
        if "until" in frame and holding.get(frame["task"]) == frame["token"] and chance.random() < 0.5:
            client.run(let_go(frame["task"], frame["token"]))

    async def let_go(task: str, token: int) -> None:
        world.hit("let go of what was cancelled")
        try:
            await client.ask("task.release", task=task, token=token)
        except Refused as refused:
            world.refused(refused, "stale_lease", "task_finished")
        holding.pop(task, None)

    client.pushed["cancel"] = cancelled
    client.pushed["expired"] = lambda frame: serve()


def dispatcher(client: Client) -> None:
    """Hands tasks over, with and without keys, follows them and acknowledges their results."""
    world, chance = client.world, client.world.chance
    following: dict[str, bool] = {}  # whether it is to be acknowledged
    pending: set[str] = set()  # dispatched, without an answer: it is sent again, and follows by itself

    def connected() -> None:
        if accepted := [[task, 0] for task in following if task not in pending]:
            client.ask_here("task.follow", tasks=accepted)

    def result(frame: dict[str, Any]) -> None:
        if frame["task"] in following:
            world.history.observed(client.name, "task.result", {"state": frame["state"], "body": frame.get("body")}, task=frame["task"])
            if frame["state"] == "failed" and chance.random() < 0.5:
                client.run(try_again(frame["task"]))
            elif following.pop(frame["task"]):
                client.run(acknowledge(frame["task"]))

    async def acknowledge(task: str) -> None:
        try:
            await client.ask("task.ack", tasks=[task])
        except Refused as refused:
            world.refused(refused, "not_authorized")  # a task of a key that another dispatched

    async def try_again(task: str) -> None:
        try:
            await client.ask("task.retry", task=task)
            if task in following:
                client.ask_here("task.follow", tasks=[[task, 0]])
        except Refused as refused:
            world.refused(refused, "task_finished", "task_not_found", "key_conflict")  # another task has its slot now
            following.pop(task, None)

    async def go_on() -> None:
        while await world.next_operation(client):
            task, body = world.name("task"), world.body()
            options: dict[str, Any] = {}
            if chance.random() < 0.3:
                options["key"] = f"key{chance.randrange(20)}"
                body = b"payload of " + options["key"].encode()
                if chance.random() < 0.1:
                    body += b", another"
            if chance.random() < 0.1:
                options["delay"] = chance.uniform(0, 5)
            if chance.random() < 0.1:
                options["timeout"] = chance.uniform(0.1, 10)
            if chance.random() < 0.1:
                options["slot"] = f"slot{chance.randrange(2)}"
            if chance.random() < 0.1:
                options.update(attempt_timeout=chance.uniform(0.5, 3), retry=RETRY)  # soon again, or it takes hours to come to rest
            if chance.random() < 0.2:
                options["concurrency_key"] = f"c{chance.randrange(2)}"
            if chance.random() < 0.2:
                which = chance.randrange(2)
                options.update(rate_key=f"r{which}", rate_limit=RATES[which if chance.random() < 0.95 else 2])
            if chance.random() < 0.3:
                options["retry"] = RETRY
            options.update(priority=chance.randrange(3), max_attempts=chance.choice((1, 3, 10)))
            following[task] = chance.random() < 0.7
            pending.add(task)
            try:
                ok = await client.ask("task.dispatch", task=task, type="draft", kind="handoff", body=body, **options)
                pending.discard(task)
                if ok["task"] != task and task in following:
                    following[ok["task"]] = following.pop(task)
                    client.ask_here("task.follow", tasks=[[ok["task"], 0]])
                if chance.random() < 0.05:
                    await client.ask("task.cancel", task=ok["task"])
                elif chance.random() < 0.1:
                    await asyncio.sleep(chance.uniform(0, 0.3))
                    await client.ask(
                        "task.cancel",
                        task=ok["task"],
                        wait=chance.choice((0.1, 1.0, 5.0)),
                        forget="key" not in options and chance.random() < 0.5,
                    )
            except Refused as refused:
                world.refused(refused, "key_conflict", "task_not_found")
                following.pop(task, None)
            pending.discard(task)

    client.connected.append(connected)
    client.pushed["result"] = result
    client.run(go_on())


def scheduler(client: Client) -> None:
    """Sets, pauses, resumes and deletes schedules that come often, and leaves none behind."""
    world, chance = client.world, client.world.chance

    async def go_on() -> None:
        while await world.next_operation(client):
            name, what = f"s{chance.randrange(2)}", chance.random()
            if what < 0.6:
                fields = {"cron": chance.choice(CRON), "overlap": chance.choice(("allow", "skip"))}
                await insist("set", name, type="draft", body=b"payload of " + name.encode(), **fields)
            else:
                await insist(chance.choice(("pause", "resume", "delete")), name)
        for name in ("s0", "s1"):
            await insist("delete", name)

    async def insist(what: str, name: str, **fields: Any) -> None:
        """Until it is known what came of it: where the broker failed, once more."""
        while True:
            try:
                await client.ask(f"schedule.{what}", schedule=name, **fields)
            except Refused as refused:
                if refused.maybe_applied:
                    continue
                world.refused(refused, "schedule_not_found")
            return

    client.run(go_on())


def editor(client: Client) -> None:
    """Reads, compares and sets keys of the blackboard that others write too."""
    world, chance = client.world, client.world.chance

    async def go_on() -> None:
        known: dict[str, int] = {}
        while await world.next_operation(client):
            key, what = f"k{chance.randrange(3)}", chance.random()
            try:
                if what < 0.35:
                    entry = (await client.ask("blackboard.get", key=key))["entry"]
                    known[key] = 0 if entry is None else entry["revision"]
                elif what < 0.65 and key in known:
                    ok = await client.ask("blackboard.set", key=key, body=world.body(), expected=known[key])
                    known[key] = ok["revision"]
                elif what < 0.75:
                    await client.ask("blackboard.delete", key=key)
                elif what < 0.85:
                    mid, body = world.name("mid"), world.body()
                    await client.ask("blackboard.set", key=key, body=body, mid=mid)
                    await client.ask("blackboard.set", key=key, body=body, mid=mid)
                else:
                    await client.ask("blackboard.set", key=key, body=world.body())
            except Refused as refused:
                world.refused(refused, "revision_conflict")
                known[key] = refused.detail.get("revision", 0)

    client.run(go_on())


def publisher(client: Client) -> None:
    """Emits, publishes and sends, with and without keys; keys are shared with others."""
    world, chance = client.world, client.world.chance

    async def go_on() -> None:
        while await world.next_operation(client):
            op, fields = chance.choice(SAY)
            body = world.body()
            if chance.random() < 0.3:
                fields = {**fields, "key": f"key{chance.randrange(30)}"}
                body = f"{op} of {fields['key']}".encode()
            try:
                await client.ask(op, body=body, **fields)
            except Refused as refused:
                world.refused(refused, "actor_ambiguous")  # the reader was killed and its former self has not left yet

    client.run(go_on())


def asker(client: Client) -> None:
    """Asks for approvals and follows them."""
    world, chance = client.world, client.world.chance
    following: set[str] = set()

    def connected() -> None:
        if following:
            client.ask_here("approval.follow", approvals=sorted(following))

    def decision(frame: dict[str, Any]) -> None:
        if frame["approval"] in following:
            following.remove(frame["approval"])
            world.history.observed(client.name, "approval.decision", frame["decision"], approval=frame["approval"])

    async def go_on() -> None:
        while await world.next_operation(client):
            approval = world.name("approval")
            options: dict[str, Any] = {"expires": chance.uniform(1, 20)} if chance.random() < 0.3 else {}
            options["quorum"] = chance.choice([1, 1, 2])
            options["allow"] = ["approve", "edit", "reject"]
            following.add(approval)
            world.asked.append(approval)
            try:
                await client.ask("approval.request", approval=approval, action="pay", body=world.body(), **options)
            except Refused as refused:
                world.refused(refused)

    client.connected.append(connected)
    client.pushed["decision"] = decision
    client.run(go_on())


def decider(client: Client) -> None:
    """Decides what was asked, against others."""
    world, chance = client.world, client.world.chance

    async def go_on() -> None:
        while await world.next_operation(client):
            if not world.asked:
                continue
            approval = chance.choice(world.asked[-3:])
            try:
                if chance.random() < 0.1:
                    await client.ask("approval.delegate", approval=approval, to=f"decider{chance.randint(1, 2)}")
                else:
                    type = chance.choice(["approve", "edit", "reject"])
                    said = {"body": chance.choice([b"less", b"more"])} if type == "edit" else {}
                    await client.ask("approval.decide", approval=approval, type=type, **said)
            except Refused as refused:  # the last two: it has passed its vote on, or that can't be passed to this one
                world.refused(refused, "already_decided", "approval_not_found", "not_authorized", "bad_request")

    client.run(go_on())


def reader(client: Client) -> None:
    """Reads its inbox, and the whole log; what it has seen of that is kept by the world, as by a process that stores its cursor."""
    world, chance = client.world, client.world.chance
    stream = client.actor
    world.cursors.setdefault(stream, 0)

    def subscribe() -> None:
        client.ask_here("log.subscribe", sub=1, since=world.cursors[stream])

    def join() -> None:
        client.ask_here("room.join")
        client.run(open_inbox())

    async def open_inbox() -> None:
        after, more = 0, True
        try:
            while more:
                page = await client.ask("inbox.open", inbox, after=after)
                after, more = page["messages"][-1]["seq"] if page["messages"] else after, page["more"]
        except Refused as refused:
            # Its former self has it until its lease ends, or it was silent for so long itself.
            world.refused(refused, "actor_ambiguous", "not_joined")
            await asyncio.sleep(1.0)
            client.run(open_inbox())

    def inbox(frame: dict[str, Any]) -> None:
        for message in frame["messages"]:
            world.unread.discard(message["seq"])
            world.history.observed(client.name, "inbox.message", message, to=stream)
        if chance.random() < 0.7:
            client.run(acknowledge([message["seq"] for message in frame["messages"]]))

    async def acknowledge(messages: list[int]) -> None:
        try:
            await client.ask("inbox.ack", messages=messages)
        except Refused as refused:
            world.refused(refused, "not_joined")  # silent for too long; it has joined again, and is told again

    def log(frame: dict[str, Any]) -> None:
        world.said(frame["through"], "the log")
        for event in frame["events"]:
            world.history.saw(stream, Event.from_wire(event))
        world.cursors[stream] = frame["through"]

    def gap(frame: dict[str, Any]) -> None:
        world.hit("gap told")
        world.history.gap(stream, frame["from"], frame["to"])
        world.cursors[stream] = frame["to"]

    client.connected.append(join)
    client.connected.append(subscribe)
    client.pushed["inbox"] = inbox
    client.pushed["expired"] = lambda frame: join()
    client.pushed["log"] = log
    client.pushed["gap"] = gap


def sharer(client: Client) -> None:
    """Shares a topic with others of its group; acknowledges most of what it is dealt, and lets some of it run out of time."""
    world, chance = client.world, client.world.chance
    in_hand: dict[int, int] = {}

    def subscribe() -> None:
        holding = [[*held] for held in in_hand.items()]
        client.ask_here("log.subscribe", sub=2, since=0, max_in_flight=3, ack_within=2.0, holding=holding, **GROUP)

    def dealt(frame: dict[str, Any]) -> None:
        for event, attempt in zip(frame["events"], frame["attempts"], strict=True):
            world.said(event["seq"], "a group")
            world.dealt.add(event["seq"])
            if in_hand.get(event["seq"]) != attempt:
                in_hand[event["seq"]] = attempt
                client.run(work(event["seq"]))

    async def work(seq: int) -> None:
        await asyncio.sleep(chance.expovariate(4.0))
        if chance.random() < 0.1:
            return  # it comes again
        try:
            await client.ask("group.ack", messages=[seq], **GROUP)
        except Refused as refused:
            world.refused(refused)
        else:
            world.acknowledged_in_group(seq)
        in_hand.pop(seq, None)

    client.connected.append(subscribe)
    client.pushed["dealt"] = dealt
