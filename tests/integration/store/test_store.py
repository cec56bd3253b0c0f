"""What LangGraph's in-memory store has no counterpart for: time, comparing and setting, watching, large values, who may do what."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from langgraph.store.base import GetOp, Item, PutOp, SearchOp

from langgraph_nolag import (
    BadRequest,
    LocalBroker,
    MessageTooLarge,
    NoLagStore,
    NotAuthorized,
    NotEncodable,
    WrongThread,
)
from langgraph_nolag.client.io import io_thread
from langgraph_nolag.graph.stores.watching import Change

MOMENT = 0.02 / 60  # minutes


def until(done: Any) -> None:
    end = time.monotonic() + 15
    while not done():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_moments(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    before = datetime.now(UTC)
    store.put(("a",), "k", {"n": 1})
    first = store.get(("a",), "k")
    store.put(("a",), "k", {"n": 2})
    second = store.get(("a",), "k")
    assert first is not None
    assert second is not None
    assert first.created_at == first.updated_at == second.created_at <= second.updated_at
    assert before.timestamp() - 0.01 <= first.created_at.timestamp() <= datetime.now(UTC).timestamp() + 0.01


def test_values_come_back_as_they_went(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    value = {"none": None, "bytes": b"\x00", "when": datetime(2030, 1, 1, tzinfo=UTC), "deep": {"list": [1, 2.5, "ü", {"x": []}]}, "": ""}
    store.put(("a",), "k", value)
    found = store.get(("a",), "k")
    assert found is not None
    assert found.value == value
    assert [item.key for item in store.search(("a",), filter={"when": value["when"]})] == ["k"]


@pytest.mark.parametrize(
    ("value", "where"), [({"a": [1, {"b": object()}]}, r"\.a\[1\]\.b"), ({"a": {1: 2}}, r"as a key at \.a"), ({"n": 1 << 70}, r"\.n")]
)
def test_what_is_not_plain_is_refused_before_anything_is_written(broker: LocalBroker, value: Any, where: str) -> None:
    store = NoLagStore(broker.room("r"))
    with pytest.raises(NotEncodable, match=where):
        store.batch([PutOp(("a",), "other", {}), PutOp(("a",), "k", value)])
    assert store.search(("a",)) == []


def test_a_batch_is_one_commit(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    store.batch([PutOp(("a",), str(n), {"n": n}) for n in range(900)])
    found = store.search(("a",), limit=5000)
    assert [item.value["n"] for item in found] == list(range(900))
    assert len({item.created_at for item in found}) == 1
    with pytest.raises(BadRequest):
        store.batch([PutOp(("a",), "new", {}), PutOp((), "no namespace", {})])
    assert store.get(("a",), "new") is None
    results = store.batch([*[GetOp(("a",), str(n)) for n in range(250)], *[SearchOp(("a",), {"n": n}) for n in range(120)]])
    assert [item.value["n"] for item in results[:250]] == list(range(250))  # type: ignore[union-attr]
    assert [[item.value["n"] for item in found] for found in results[250:]] == [[n] for n in range(120)]  # type: ignore[union-attr]


def test_filters_that_make_no_sense(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    with pytest.raises(ValueError, match=r"\$in"):
        store.search(("a",), filter={"n": {"$in": [1]}})
    with pytest.raises(ValueError, match="numbers"):
        store.search(("a",), filter={"n": {"$gt": "many"}})
    with pytest.raises(ValueError, match="limit"):
        store.search(("a",), limit=-1)


async def test_large_items(broker: LocalBroker) -> None:
    """Over what a frame takes: stored by reference, found by filters too, and watched."""
    store = NoLagStore(broker.room("r"))
    large = {"text": "x" * 3_000_000, "n": 1}
    store.put(("a",), "large", large)
    store.put(("a",), "small", {"n": 1})
    found = await store.aget(("a",), "large")
    assert found is not None
    assert found.value == large
    assert [item.key for item in await store.asearch(("a",), filter={"n": 1, "text": large["text"]})] == ["large"]
    assert [item.value for item in store.search(("a",))] == [large, {"n": 1}]
    async with store.watch(("a",)) as watch:
        assert (await anext(watch)).value == large
    store.batch([PutOp(("b",), str(n), {"text": chr(97 + n) * 60_000}) for n in range(20)])
    with pytest.raises(MessageTooLarge):
        store.batch([PutOp(("b",), "too large", {"text": b"x" * (65 << 20)})])
    assert len(store.search(("b",), limit=100)) == 20


# --- time ---


def test_items_expire(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    store.put(("a",), "short", {}, ttl=MOMENT)
    store.put(("a",), "long", {}, ttl=10)
    store.put(("a",), "ever", {})
    assert len(store.search(("a",), limit=3, refresh_ttl=False)) >= 2
    until(lambda: store.get(("a",), "short", refresh_ttl=False) is None)
    assert [item.key for item in store.search(("a",))] == ["long", "ever"]
    assert store.list_namespaces() == [("a",)]


def expires(store: NoLagStore) -> float | None:
    [item] = store.link.call("store.get", paths=[["a", "k"]], refresh=False)["items"]
    return item.get("expires")  # type: ignore[no-any-return]


def test_reading_begins_an_items_time_anew(broker: LocalBroker) -> None:
    """Unless it is told not to, by the store's configuration or the call."""
    store, silent = (NoLagStore(broker.room("r"), ttl={"default_ttl": 0.1, "refresh_on_read": refresh}) for refresh in (True, False))
    store.put(("a",), "k", {"n": 1})  # for six seconds
    reading: list[Any] = [
        lambda store, **told: store.get(("a",), "k", **told),
        lambda store, **told: store.search(("a",), **told),
        lambda store, **told: store.search(("a",), filter={"n": 1}, **told),
        lambda store, **told: asyncio.run(store.aget(("a",), "k", **told)),
        lambda store, **told: asyncio.run(store.asearch(("a",), **told)),
    ]
    last = expires(store)
    assert last is not None
    for read in reading:
        assert read(silent)
        assert read(store, refresh_ttl=False)
        assert expires(store) == last
        for reader, told in ((store, {}), (silent, {"refresh_ttl": True})):
            # Only once a hundredth of its time has passed is it worth a commit.
            until(lambda: read(reader, **told) and (expires(store) or 0) > last)  # noqa: B023
            last = expires(store) or 0
    assert store.search(("a",), filter={"n": 2}) == []
    assert expires(store) == last


def test_a_time_for_all_items(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"), ttl=MOMENT)
    assert store.ttl_config == {"default_ttl": MOMENT}
    store.put(("a",), "k", {})
    store.put(("a",), "kept", {}, ttl=None)
    until(lambda: store.get(("a",), "k", refresh_ttl=False) is None)
    assert store.get(("a",), "kept") is not None


# --- compare and set ---


async def test_no_update_is_lost(broker: LocalBroker) -> None:
    stores = [NoLagStore(broker.room("r")) for _ in range(3)]

    def more(value: Any) -> Any:
        return {"n": (value or {"n": 0})["n"] + 1}

    async def amore(value: Any) -> Any:
        await asyncio.sleep(0)
        return more(value)

    def work(store: NoLagStore) -> None:
        for _ in range(20):
            store.update(("a",), "k", more)

    with ThreadPoolExecutor(3) as pool:
        threads = [asyncio.wrap_future(pool.submit(work, store)) for store in stores]
        await asyncio.gather(*threads, *(store.aupdate(("a",), "k", change) for store in stores for change in [more, amore] * 10))
    item = stores[0].get(("a",), "k")
    assert item is not None
    assert item.value == {"n": 120}


def test_update_gives_what_it_wrote_and_can_delete(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    assert store.update(("a",), "k", lambda value: None) is None
    made = store.update(("a",), "k", lambda value: {"was": value})
    assert made == store.get(("a",), "k")
    assert isinstance(made, Item)
    assert made.value == {"was": None}
    changed = store.update(("a",), "k", lambda value: {**(value or {}), "n": 1})
    assert changed == store.get(("a",), "k")
    assert store.update(("a",), "k", lambda value: None) is None
    assert store.get(("a",), "k") is None


def test_update_keeps_an_items_time(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    store.put(("a",), "k", {}, ttl=10)
    first = expires(store)
    store.update(("a",), "k", lambda value: {"n": 1})
    second = expires(store)
    assert first is not None
    assert second is not None
    assert second > first
    store.update(("a",), "k", lambda value: {"n": 2}, ttl=None)
    assert expires(store) is None


# --- watching ---


def test_a_watch_without_a_loop_that_is_closed_ends(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    store.put(("a",), "k", {"n": 1})
    watch = store.watch(("a",))
    changes: Iterator[Change] = iter(watch)
    assert next(changes).key == "k"
    with ThreadPoolExecutor() as pool:
        rest = pool.submit(list, changes)
        asyncio.run(watch.aclose())
        assert rest.result(10) == []


@pytest.mark.parametrize("there", [[], ["k"]], ids=["reading what is there", "waiting for a change"])
async def test_a_watch_that_is_closed_ends_for_whoever_waits(broker: LocalBroker, there: list[str]) -> None:
    store = NoLagStore(broker.room("r"))
    for key in there:
        await store.aput(("a",), key, {"n": 1})
    watch = store.watch(("a",))
    for key in there:
        assert (await anext(watch)).key == key
    waiting = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)  # it waits
    await watch.aclose()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 10)
    assert [change async for change in watch] == []


async def test_a_watch(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    await store.aput(("a", "x"), "there", {"n": 0})
    await store.aput(("b",), "elsewhere", {"n": 0})
    async with store.watch(("a",)) as watch, asyncio.timeout(15):
        assert (await anext(watch)).value == {"n": 0}
        await store.aput(("a", "x"), "there", {"n": 1})
        await store.aput(("b",), "elsewhere", {"n": 1})
        await store.aput(("a",), "new/*", {"n": 2}, ttl=MOMENT)
        await store.adelete(("a", "x"), "there")
        seen = [await anext(watch) for _ in range(4)]
    assert [(change.namespace, change.key, change.value, change.deleted) for change in seen[:2]] == [
        (("a", "x"), "there", {"n": 1}, False),
        (("a",), "new/*", {"n": 2}, False),
    ]
    assert {(change.key, change.value) for change in seen[2:]} == {("there", None), ("new/*", None)}
    assert all(change.deleted for change in seen[2:])


def test_a_watch_without_a_loop(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    store.batch([PutOp(("a",), str(n), {"n": n}) for n in range(230)])
    changes: Iterator[Change] = iter(store.watch())
    assert [next(changes).value for _ in range(230)] == [{"n": n} for n in range(230)]
    store.put(("b",), "k", {"n": 1})
    assert (change := next(changes)).value == {"n": 1}
    assert change.namespace == ("b",)
    changes.close()  # type: ignore[attr-defined]


async def test_a_watch_that_begins_while_items_go(broker: LocalBroker) -> None:
    """What is deleted between two pages of what is there makes it miss nothing."""
    store = NoLagStore(broker.room("r"))
    await store.abatch([PutOp(("a",), f"{n:03}", {"n": n}) for n in range(350)])
    asked = store.link.acall
    pages = 0

    async def deleting(op: str, **fields: Any) -> Any:
        nonlocal pages
        answer = await asked(op, **fields)
        pages += op == "store.search"
        if op == "store.search" and pages in (1, 3, 4):
            deletes = [[["a", f"{n:03}"]] for n in range(pages * 10, pages * 10 + 5)]
            await store.link.connection.acall("store.write", room="r", deletes=deletes)
        return answer

    store.link.acall = deleting  # type: ignore[method-assign]
    try:
        async with store.watch(("a",)) as watch, asyncio.timeout(15):
            seen: dict[str, Any] = {}
            while len(seen) < 335 or "349" not in seen:
                change = await anext(watch)
                if change.deleted:
                    del seen[change.key]
                else:
                    seen[change.key] = change.value
    finally:
        del store.link.acall  # type: ignore[method-assign]
    gone = {f"{n:03}" for first in (10, 30, 40) for n in range(first, first + 5)}
    assert set(seen) >= {f"{n:03}" for n in range(350)} - gone
    assert pages > 4


# --- threads, loops, addresses, grants ---


def test_from_conn_string(broker: LocalBroker) -> None:
    with NoLagStore.from_conn_string(f"{broker.url}/r", token=broker.token("keeper"), ttl=5) as store:
        store.put(("a",), "k", {"n": 1})
        assert store.ttl_config == {"default_ttl": 5.0}
    assert NoLagStore(broker.room("r")).get(("a",), "k") is not None


async def test_sync_methods_inside_a_running_loop(broker: LocalBroker) -> None:
    store = NoLagStore(broker.room("r"))
    store.put(("a",), "k", {"n": 1})
    assert await store.aget(("a",), "k") == store.get(("a",), "k")


@pytest.mark.parametrize("indexed", [False, True])
def test_a_blocking_call_on_the_sdks_own_thread_is_refused(broker: LocalBroker, indexed: bool) -> None:
    index: Any = {"dims": 1, "embed": lambda texts: [[1.0] for _ in texts]} if indexed else None
    store = NoLagStore(broker.room("r"), index=index)
    outcomes: list[str] = []
    done = threading.Event()

    def call() -> None:
        for blocking in (
            lambda: store.put(("a",), "k", {"n": 1}),
            lambda: store.search(("a",), query="x"),
            lambda: store.update(("a",), "k", lambda value: value),
            lambda: next(iter(store.watch())),
        ):
            try:
                blocking()  # type: ignore[no-untyped-call]
            except WrongThread as error:
                outcomes.append(str(error))
        done.set()

    io_thread().post(call)
    assert done.wait(10)
    assert len(outcomes) == 4
    assert all("async form" in outcome for outcome in outcomes)


async def test_grants(broker: LocalBroker) -> None:
    everything = NoLagStore(broker.room("r"))
    await everything.aput(("users", "1"), "name", {"n": 1})
    await everything.aput(("users", "2"), "name", {"n": 2})
    grants = [{"room": "r", "topics": ["store/users/1/**"], "verbs": ["state", "subscribe"]}]
    one = NoLagStore(f"{broker.url}/r", token=broker.token("one", grants=grants))
    assert [item.value for item in await one.asearch(("users",))] == [{"n": 1}]
    assert await one.alist_namespaces() == [("users", "1")]
    for ask in (
        lambda: one.aget(("users", "2"), "name"),
        lambda: one.aput(("users", "2"), "name", {}),
        lambda: one.adelete(("users", "2"), "name"),
    ):
        with pytest.raises(NotAuthorized):
            await ask()
    async with one.watch(()) as watch, asyncio.timeout(15):
        assert (await anext(watch)).value == {"n": 1}
        await everything.aput(("users", "2"), "name", {"n": 3})
        await one.aput(("users", "1"), "name", {"n": 4})
        assert (await anext(watch)).value == {"n": 4}


async def test_many_searches_at_a_time(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a connection may have under way: who is refused asks again."""
    monkeypatch.setattr("nolag_broker.server.store_ops.MAX_LOOKED_AT", 500)
    store = NoLagStore(broker.room("r"))
    await store.abatch([PutOp(("a",), str(n), {"n": n}) for n in range(100)])
    found = await asyncio.gather(*(store.asearch(("a",), filter={"n": n}) for n in range(100)))
    assert [[item.key for item in items] for items in found] == [[str(n)] for n in range(100)]
    assert [item.key for item in store.search(("a",), filter={"n": 7})] == ["7"]
