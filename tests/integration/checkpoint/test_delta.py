"""Delta channels: most checkpoints hold nothing of them, so their ancestors must stay."""

from __future__ import annotations

import random
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from langgraph_nolag import LocalBroker, NoLagSaver


def extend(state: list[str], writes: list[list[str]]) -> list[str]:
    return [*state, *(item for write in writes for item in write)]


class State(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=5)]
    count: int


def graph(saver: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("a", lambda state: {"log": [f"a{state['count']}"]})
    builder.add_node("b", lambda state: {"log": [f"b{len(state['log'])}"]})
    builder.add_edge(START, "a").add_edge("a", "b")
    return builder.compile(checkpointer=saver)


def play(made: Any, config: RunnableConfig, runs: range) -> list[str]:
    ids = []
    for count in runs:
        ids.append(str(uuid4()))
        made.invoke({"count": count}, {**config, "run_id": ids[-1], "metadata": {"run_id": ids[-1]}})
    return ids


def test_a_graph_with_a_delta_channel(broker: LocalBroker) -> None:
    """It is what it is with LangGraph's own saver: after pruning, copying and deleting what other runs made, too."""
    saver = NoLagSaver(broker.room("delta"))
    ours, theirs = graph(saver), graph(InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    runs = play(ours, config, range(4))
    play(theirs, config, range(4))
    wanted = theirs.get_state(config).values
    assert len(wanted["log"]) == 8
    assert ours.get_state(config).values == wanted
    history = [state.values for state in ours.get_state_history(config)]
    assert history == [state.values for state in theirs.get_state_history(config)]

    before = len(list(saver.list(config)))
    saver.delete_for_runs(runs[:3])
    assert len(list(saver.list(config))) < before  # what nobody needs is gone
    assert ours.get_state(config).values == wanted
    saver.copy_thread("t", "copy")
    saver.prune(["t"])
    assert ours.get_state(config).values == wanted
    play(ours, config, range(4, 6))
    play(theirs, config, range(4, 6))
    assert ours.get_state(config).values == theirs.get_state(config).values
    saver.prune(["t"], strategy="delete")
    assert list(saver.list(config)) == []
    assert ours.get_state({"configurable": {"thread_id": "copy"}}).values == wanted


@pytest.mark.parametrize("seed", range(2))
async def test_history_is_langgraphs_own(broker: LocalBroker, seed: int) -> None:
    """Over forks, missing ancestors, several channels and more ancestors than one page, sync and async."""
    chance = random.Random(seed)
    ours, theirs = NoLagSaver(broker.room(f"history-{seed}")), InMemorySaver()
    channels = ["a", "b", "c"]
    heads: list[RunnableConfig] = [{"configurable": {"thread_id": "t", "checkpoint_ns": ""}}]
    for step in range(40):
        parent = heads[-1] if chance.random() < 0.8 else chance.choice(heads)
        versions = {channel: f"{step:032}.{step}" for channel in channels if chance.random() < 0.7}
        values = {channel: [channel, step] for channel in versions if chance.random() < 0.1}
        made: Any = {**empty_checkpoint(), "id": str(uuid6(clock_seq=step)), "channel_values": values, "channel_versions": versions}
        stored = [
            saver.put(parent, made, {"source": "loop", "step": step, "parents": {}}, made["channel_versions"]) for saver in (ours, theirs)
        ]
        assert stored[0] == stored[1]
        heads.append(stored[0])
        for task in range(chance.randrange(3)):
            writes = [(chance.choice([*channels, "other", "__error__"]), [step, n]) for n in range(chance.randrange(4))]
            for saver in (ours, theirs):
                saver.put_writes(stored[0], writes, f"task{task}", f"~{step % 3}")
    for config in [*chance.sample(heads[1:], 20), heads[-1], heads[0]]:
        wanted = theirs.get_delta_channel_history(config=config, channels=channels)
        assert ours.get_delta_channel_history(config=config, channels=channels) == wanted
        assert await ours.aget_delta_channel_history(config=config, channels=channels) == wanted
    assert ours.get_delta_channel_history(config=heads[-1], channels=[]) == {}
    nowhere: RunnableConfig = {"configurable": {"thread_id": "nobody"}}
    assert ours.get_delta_channel_history(config=nowhere, channels=["a"]) == {"a": {"writes": []}}
