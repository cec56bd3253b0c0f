"""What the public suite does not ask."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langgraph_nolag import LocalBroker, NoLagSaver, StaleLease, WrongThread
from langgraph_nolag.client.io import io_thread
from langgraph_nolag.graph._compat import NULL_TASK_ID

NAMES = ["", "t", "a/b", "a|b:c", "50%", "*", "ü漢 字", ".", "%2F", "line\nbreak"]


def config(thread: str, ns: str = "", checkpoint_id: str | None = None) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, **({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}}


def checkpoint(step: int, **values: Any) -> Any:
    return {
        **empty_checkpoint(),
        "id": str(uuid6(clock_seq=step)),
        "channel_values": values,
        "channel_versions": dict.fromkeys(values, f"{step:032}.1"),
    }


def put(saver: Any, where: RunnableConfig, step: int, **values: Any) -> RunnableConfig:
    made = checkpoint(step, **values)
    return saver.put(where, made, {"source": "loop", "step": step, "parents": {}}, made["channel_versions"])  # type: ignore[no-any-return]


def plain(found: CheckpointTuple | None) -> Any:
    return None if found is None else found._asdict()


def test_names_of_any_shape(broker: LocalBroker) -> None:
    """Threads, namespaces, channels and tasks may be called anything, and are kept apart."""
    saver = NoLagSaver(broker.room("names"))
    stored = {}
    for number, (thread, ns) in enumerate((thread, ns) for thread in NAMES for ns in NAMES):
        where = put(saver, config(thread, ns), number, **{NAMES[number % len(NAMES)] or "empty": number})
        saver.put_writes(where, [("x|y/z", number)], task_id=thread or "task", task_path=ns)
        stored[thread, ns] = number
    for (thread, ns), number in stored.items():
        found = saver.get_tuple(config(thread, ns))
        assert found is not None
        assert list(found.checkpoint["channel_values"].values()) == [number]
        assert found.pending_writes == [(thread or "task", "x|y/z", number)]
        assert [each.metadata["step"] for each in saver.list(config(thread, ns))] == [number]
    saver.delete_thread("a/b")
    assert saver.get_tuple(config("a/b")) is None
    assert saver.get_tuple(config("a|b:c")) is not None


def test_same_as_langgraphs_own(broker: LocalBroker) -> None:
    """Random operations give what LangGraph's in-memory saver gives."""
    chance = random.Random(7)
    ours, theirs = NoLagSaver(broker.room("twin")), InMemorySaver()
    threads, spaces = ["one", "two"], ["", "child:1", "child:1|x:2"]
    heads: dict[tuple[str, str], RunnableConfig] = {}
    for step in range(120):
        thread, ns = chance.choice(threads), chance.choice(spaces)
        head = heads.get((thread, ns))
        if head is None or chance.random() < 0.5:
            made = checkpoint(step, messages=[step] * chance.randrange(5), count=step)
            if head is not None and chance.random() < 0.5:  # a channel that did not change
                before = theirs.get_tuple(head)
                assert before is not None
                made["channel_values"]["count"] = before.checkpoint["channel_values"]["count"]
                made["channel_versions"]["count"] = before.checkpoint["channel_versions"]["count"]
                versions = {"messages": made["channel_versions"]["messages"]}
            else:
                versions = dict(made["channel_versions"])
            metadata: Any = {"source": chance.choice(["loop", "input"]), "step": step, "parents": {}}
            results = [saver.put(head or config(thread, ns), made, metadata, versions) for saver in (ours, theirs)]
            assert results[0] == results[1]
            heads[thread, ns] = results[0]
        else:
            channels = chance.choices(["a", "b", "__error__", "__interrupt__", "__resume__", "__scheduled__"], k=chance.randrange(4))
            task, path = f"task{chance.randrange(3)}", f"~{chance.randrange(3)}"
            for saver in (ours, theirs):
                saver.put_writes(head, [(channel, [step, place]) for place, channel in enumerate(channels)], task, path)
    for thread in threads:
        for ns in spaces:
            assert plain(ours.get_tuple(config(thread, ns))) == plain(theirs.get_tuple(config(thread, ns)))
            history = [plain(each) for each in theirs.list(config(thread, ns))]
            assert [plain(each) for each in ours.list(config(thread, ns))] == history
            assert [plain(each) for each in ours.list(config(thread, ns), filter={"source": "input"}, limit=3)] == [
                each for each in history if each["metadata"]["source"] == "input"
            ][:3]
            if len(history) > 2:
                before = history[1]["config"]
                assert [plain(each) for each in ours.list(config(thread, ns), before=before, limit=4)] == history[2:6]
    everything = sorted((plain(each) for each in theirs.list(None)), key=lambda each: each["checkpoint"]["id"], reverse=True)
    assert [plain(each) for each in ours.list(None)] == everything
    of_thread: Any = {"configurable": {"thread_id": "one"}}
    assert [plain(each) for each in ours.list(of_thread)] == [
        each for each in everything if each["config"]["configurable"]["thread_id"] == "one"
    ]


def test_many_writes_come_back_in_order(broker: LocalBroker) -> None:
    """More than one page of pending writes, and more than a request may list."""
    saver = NoLagSaver(broker.room("many"))
    where = put(saver, config("t"), 0)
    saver.put_writes(where, [(f"c{number % 7}", number) for number in range(1500)], "task")
    found = saver.get_tuple(where)
    assert found is not None
    assert found.pending_writes is not None
    assert [value for _, _, value in found.pending_writes] == list(range(1500))


def test_unchanged_values_are_kept_once(broker: LocalBroker) -> None:
    """A big channel that did not change is not written again, and survives as long as anybody needs it."""
    saver = NoLagSaver(broker.room("shared"))
    first = checkpoint(0, big="x" * 100_000, small=0)
    where = saver.put(config("t"), first, {"step": 0}, first["channel_versions"])
    second = {**checkpoint(1, big="x" * 100_000, small=1), "channel_versions": {"big": first["channel_versions"]["big"], "small": "1.1"}}
    saver.put(where, second, {"step": 1}, {"small": "1.1"})
    keys = [key for key, _ in saver.link.call("record.scan", prefix="checkpoint/t/v/", bodies=False)["items"]]
    assert len([key for key in keys if "/big/" in key]) == 1
    saver.prune(["t"])
    (kept,) = saver.list(config("t"))
    assert kept.checkpoint["channel_values"] == {"big": "x" * 100_000, "small": 1}
    keys = [key for key, _ in saver.link.call("record.scan", prefix="checkpoint/t/v/", bodies=False)["items"]]
    assert len(keys) == 2


def test_pruning_keeps_what_delta_channels_are_rebuilt_from(broker: LocalBroker) -> None:
    saver = NoLagSaver(broker.room("delta"))
    where: RunnableConfig = config("t")
    for step in range(6):
        made = checkpoint(step, **({"log": ["snapshot"]} if step in (0, 2) else {}), other=step)
        made["channel_versions"]["log"] = f"{step:032}.1"
        where = saver.put(where, made, {"step": step, "counters_since_delta_snapshot": {"log": (step, step)}}, made["channel_versions"])
        saver.put_writes(where, [("log", step)], f"task{step}")
    before = saver.get_delta_channel_history(config=where, channels=["log"])
    saver.prune(["t"])
    assert [each.metadata["step"] for each in saver.list(config("t"))] == [5, 4, 3, 2]
    assert saver.get_delta_channel_history(config=where, channels=["log"]) == before
    assert before["log"]["seed"] == ["snapshot"]


async def test_sync_methods_inside_a_running_loop(broker: LocalBroker) -> None:
    """A notebook: a loop runs in this thread, and sync code is called in it."""
    saver = NoLagSaver(broker.room("loop"))
    where = put(saver, config("t"), 0, a=1)
    found = await saver.aget_tuple(where)
    assert plain(found) == plain(saver.get_tuple(where))
    assert [plain(each) async for each in saver.alist(config("t"))] == [plain(found)]


def test_from_many_threads_and_loops(broker: LocalBroker) -> None:
    saver = NoLagSaver(broker.room("threads"))

    def work(number: int) -> Any:
        if number % 2:
            put(saver, config(f"t{number}"), number, n=number)
            return saver.get_tuple(config(f"t{number}"))
        made = checkpoint(number, n=number)
        asyncio.run(saver.aput(config(f"t{number}"), made, {"step": number}, made["channel_versions"]))
        return asyncio.run(saver.aget_tuple(config(f"t{number}")))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(40)))
    assert [each.checkpoint["channel_values"]["n"] for each in found] == list(range(40))


def test_a_blocking_call_on_the_sdks_own_thread_is_refused(broker: LocalBroker) -> None:
    saver = NoLagSaver(broker.room("own"))
    saver.get_tuple(config("t"))
    outcome: list[BaseException | None] = []
    done = threading.Event()

    def call() -> None:
        try:
            saver.get_tuple(config("t"))
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)
        done.set()

    io_thread().post(call)
    assert done.wait(10)
    assert isinstance(outcome[0], WrongThread)


def test_from_conn_string(broker: LocalBroker) -> None:
    with NoLagSaver.from_conn_string(f"{broker.url}/by-address", token=broker.token("agent")) as saver:
        put(saver, config("t"), 0, a=1)
    found = NoLagSaver(broker.room("by-address")).get_tuple(config("t"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": 1}
    assert NoLagSaver(broker.room("elsewhere")).get_tuple(config("t")) is None


def test_any_serializer(broker: LocalBroker) -> None:
    class Loud(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            kind, data = super().dumps_typed(obj)
            return f"loud:{kind}", data[::-1]

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            assert data[0].startswith("loud:")
            return super().loads_typed((data[0][5:], data[1][::-1]))

    saver = NoLagSaver(broker.room("loud"), serde=Loud())
    where = put(saver, config("t"), 0, a={"b": UUID(int=1)})
    found = saver.get_tuple(where)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": {"b": UUID(int=1)}}


def test_a_put_under_a_lease_that_is_not_held(broker: LocalBroker) -> None:
    zombie = NoLagSaver(broker.room("fenced"), lease=("no-such-task", 1))
    with pytest.raises(StaleLease):
        put(zombie, config("t"), 0, a=1)
    assert NoLagSaver(broker.room("fenced")).get_tuple(config("t")) is None


def test_checkpoints_outlive_the_broker(tmp_path: Path) -> None:
    with LocalBroker(path=tmp_path) as broker:
        where = put(NoLagSaver(broker.room("kept")), config("t"), 0, a=[1, "two"])
    with LocalBroker(path=tmp_path) as broker:
        found = NoLagSaver(broker.room("kept")).get_tuple(config("t"))
    assert found is not None
    assert found.config == where
    assert found.checkpoint["channel_values"] == {"a": [1, "two"]}


async def test_the_latest_is_the_latest_whoever_stored_it(broker: LocalBroker) -> None:
    """A saver asks for the parts of the checkpoint that it knows last; others store, delete and fork meanwhile."""
    mine, other = NoLagSaver(broker.room("latest")), NoLagSaver(broker.room("latest"))
    first = put(mine, config("t"), 1, a=1, b="x")
    for get in (mine.get_tuple, other.get_tuple):
        assert (found := get(config("t"))) is not None
        assert found.checkpoint["channel_values"] == {"a": 1, "b": "x"}
    second = put(other, first, 2, a=2)
    other.put_writes(second, [("a", 3)], task_id="task")
    for found in (mine.get_tuple(config("t")), await mine.aget_tuple(config("t")), other.get_tuple(config("t"))):
        assert found is not None
        assert found.checkpoint["channel_values"] == {"a": 2}
        assert found.config["configurable"] == second["configurable"]
        assert found.parent_config == first
        assert found.pending_writes == [("task", "a", 3)]
    other.delete_thread("t")
    assert mine.get_tuple(config("t")) is None
    assert await mine.aget_tuple(config("t")) is None
    put(other, config("t"), 3, c=4)
    assert (found := mine.get_tuple(config("t"))) is not None
    assert found.checkpoint["channel_values"] == {"c": 4}


def test_what_this_process_knows_to_be_the_latest_is_not_sent_to_it(broker: LocalBroker) -> None:
    """As a run of a graph reads and writes: its last checkpoint is what the next run begins with."""
    saver = NoLagSaver(broker.room("known"))
    where = put(saver, config("t"), 1, a=1)
    assert saver.get_tuple(config("t")) is not None
    for step in range(2, 5):
        saver.put_writes(where, [("a", step)], task_id="task")
        where = put(saver, where, step, a=step)
        put(NoLagSaver(broker.room("known")), config("another"), step, a=step)
    held = saver.known.state("t", "")
    assert held is not None
    assert held[0].id == where["configurable"]["checkpoint_id"]
    assert saver.link.call("record.scan", prefix="checkpoint/t/", since=held[1], epoch=held[2])["same"]
    found = saver.get_tuple(config("t"))
    assert found is not None
    found.checkpoint["channel_values"]["a"] = "changed by whoever got it"
    assert plain(saver.get_tuple(config("t"))) == plain(NoLagSaver(broker.room("known")).get_tuple(config("t")))


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_known_is_what_there_is(broker: LocalBroker, seed: int) -> None:
    """Several processes on one thread, some of their writes at a time: each reads what one reads that knows nothing."""
    chance = random.Random(seed)
    room = broker.room(f"known-{seed}")
    savers = [NoLagSaver(room) for _ in range(3)]
    stored: list[RunnableConfig] = [config("t"), config("t", "inner")]
    kept: dict[str, tuple[str, int]] = {}  # the version and value of a channel, by namespace
    held = 0

    async def change(saver: NoLagSaver, number: int) -> None:
        where = chance.choice(stored[-4:])
        ns, id = where["configurable"]["checkpoint_ns"], where["configurable"].get("checkpoint_id")
        made = checkpoint(number, a=number, b=number)
        changed = dict(made["channel_versions"])
        if ns in kept and chance.random() < 0.5:  # b is as it was
            made["channel_versions"]["b"], made["channel_values"]["b"] = kept[ns]
            del changed["b"]
        kind = chance.random()
        if kind < 0.3 and id is not None:
            writes = [chance.choice([("a", number), ("__resume__", number), ("__interrupt__", number)])]
            await saver.aput_writes(where, writes, task_id=chance.choice(["task", "other", NULL_TASK_ID]))
        elif kind < 0.35:
            later = str(uuid6(clock_seq=number + 1))
            await saver.aput_writes(config("t", ns, later), [("a", number)], task_id="ahead")
            made["id"] = later
            await asyncio.gather(saver.aget_tuple(config("t", ns)), saver.aput(where, made, {"step": number}, changed))
            stored.append(config("t", ns, later))
        else:
            stored.append(await saver.aput(where, made, {"step": number}, changed))
            kept[ns] = made["channel_versions"]["b"], made["channel_values"]["b"]

    for number in range(60):
        if chance.random() < 0.04:
            await chance.choice(savers).adelete_thread("t")
            stored[:] = [config("t"), config("t", "inner")]
            kept.clear()
        await asyncio.gather(*(change(chance.choice(savers), number * 10 + n) for n in range(chance.choice([1, 1, 1, 3]))))
        for ns in ("", "inner"):
            expected = plain(await NoLagSaver(room).aget_tuple(config("t", ns)))
            for saver in chance.sample(savers, 2):
                held += saver.known.state("t", ns) is not None
                assert plain(await saver.aget_tuple(config("t", ns))) == expected, f"{number} {ns!r}"
    assert held > 20
