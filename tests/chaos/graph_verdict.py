"""What a run must have come to, whatever was killed on the way."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from . import graph_story as story
from .graph_play import Played
from .history import judged

BETWEEN = ("before", "effect.put"), ("after", "effect.put")  # an effect is done, and not yet recorded


def verdict(played: Played, undisturbed: Played) -> list[str]:
    """What is wrong, in words; empty is good."""
    wrong = [*played.wrong, *judged(played.history, played.log)]
    if played.wrong:
        return wrong
    if plain(played.values) != plain(undisturbed.values):
        wrong.append(f"the final state is {plain(played.values)}, and {plain(undisturbed.values)} without kills")
    if played.supersteps != undisturbed.supersteps:
        wrong.append(f"the thread came there by {played.supersteps}, and by {undisturbed.supersteps} without kills")
    wrong += _bodies(played)
    wrong += _effects(played)
    for stream in played.streams:
        wrong += _stream(stream)
    return wrong


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without what every run makes up anew: where its files are, and the ids of messages."""
    messages = [(type(message).__name__, message.content) for message in values.get("messages", ())]
    return {**values, "folder": None, "messages": messages}


def _bodies(played: Played) -> list[str]:
    """What has finished does not run again: only what a lost worker had in hand, or what is invoked again while it waits for an answer."""
    wrong: list[str] = []
    lost = lost_hand_outs(played)
    for body in story.BODIES:
        expected = story.ASKING.get(body, 1)
        most = expected + lost[story.TASK_OF.get(body, body)] + played.again[body]
        if not expected <= played.ran[body] <= most:
            wrong.append(f"the body {body} ran {played.ran[body]} times, expected {expected} (and {most - expected} that were lost)")
    if lost and not played.killed["worker"]:
        wrong.append(f"no worker was killed, and hand-outs were lost: {dict(lost)}")
    return wrong


def lost_hand_outs(played: Played) -> Counter[str]:
    """Hand-outs that ended without a result, by the last part of the task's type. What a body calls is no hand-out of its own: lost with
    the body's is as much of it as was not stored by then, which is for whoever runs the graph to do, perhaps in the same process."""
    types: dict[str, str] = {}
    lost: Counter[str] = Counter()
    stored = 0  # since the body that calls tasks was handed out
    for event in played.log:
        type = types.get(event.data.get("task", ""), "")
        if event.type == "task.dispatched" and event.data.get("kind", "handoff") != "run":
            types[event.data["task"]] = str(event.subject).rpartition("/")[2]
        elif event.type == "task.claimed" and type == story.CALLING:
            stored = 0
        elif event.type == "record.written":
            stored += 1
        elif event.type == "task.released" and type:
            lost[type] += 1
            if type == story.CALLING:
                lost["look"] += max(0, len(story.WORDS) - stored)
    return lost


def _effects(played: Played) -> list[str]:
    """An effect is in the ledger once, and was done once, unless a worker died between the two."""
    wrong: list[str] = []
    if (recorded := sum(event.type == "task.effect" for event in played.log)) != 1:
        wrong.append(f"the effect is in the ledger {recorded} times")
    begun, ended = BETWEEN
    between = sum(begun in worker.moments and ended not in worker.moments for worker in played.workers)
    if not 1 <= played.ran["pay"] <= 1 + between * played.killed["worker"]:
        wrong.append(f"the effect was done {played.ran['pay']} times")
    if (questions := sum(event.type == "approval.requested" for event in played.log)) != 1:
        wrong.append(f"the gate asked {questions} times in the room")
    return wrong


def _stream(stream: list[tuple[Any, ...]]) -> list[str]:
    """What a caller reads of a body's stream has no hole and no repeat, over restarts of the broker too; and all of it, where it sees the
    body's end."""
    wrong: list[str] = []
    told: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    ended: list[str] = []
    for mode, chunk in stream:
        if mode == "custom":
            name, pid, number = chunk
            told[name, pid].append(number)
        elif not chunk.get("__metadata__", {}).get("cached"):
            ended += [update["log"][0] for node, update in chunk.items() if node in ("tell", "part")]
    for (name, pid), numbers in told.items():
        if numbers != list(range(len(numbers))):
            wrong.append(f"a caller read the chunks {numbers} of {name} in {pid}")
    for name in ended:
        whole = [pid for (body, pid), numbers in told.items() if body == name and len(numbers) == story.CHUNKS]
        if not whole:
            had = {pid: numbers for (body, pid), numbers in told.items() if body == name}
            wrong.append(f"a caller saw the end of {name}, and of its chunks {had}")
    return wrong
