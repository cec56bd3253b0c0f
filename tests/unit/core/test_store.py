"""Items under namespaces: written all or none, compared, read again, expired; found in the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from nolag_broker.core.limits import Limits
from nolag_broker.wire.blobs import BLOB, Reference
from nolag_broker.wire.grants import Grants


def put(agent: Any, *path: str, body: bytes = b"1", **terms: Any) -> int:
    """Its revision."""
    [(revision, _, _)] = agent.ask("store.write", puts=[[list(path), body, terms]])["items"]
    return int(revision)


def get(agent: Any, *path: str, refresh: bool = False) -> Any:
    [item] = agent.ask("store.get", paths=[list(path)], refresh=refresh)["items"]
    return item


def found(driver: Any, *prefix: str, grants: Any = ({"room": "**"},)) -> list[str]:
    items = driver.room.store.find(prefix, Grants.parse(grants), driver.wall)
    return ["/".join(item.path) for item in items]


def test_an_item(driver: Any, planner: Any) -> None:
    assert get(planner, "users", "7", "name") is None
    created = driver.wall
    revision = put(planner, "users", "7", "name", body=b"ana")
    item = {"path": ("users", "7", "name"), "revision": revision, "created": created, "updated": created, "body": b"ana"}
    assert get(planner, "users", "7", "name") == item
    driver.advance(5)
    again = put(planner, "users", "7", "name", body=b"eva")
    assert again > revision
    assert get(planner, "users", "7", "name") == {**item, "revision": again, "updated": created + 5, "body": b"eva"}
    assert planner.ask("store.write", deletes=[[["users", "7", "name"]], [["users", "none"]]]) == {"items": []}
    assert get(planner, "users", "7", "name") is None
    assert driver.types()[-1] == "store.deleted"
    assert [key for key in driver.heads if key.startswith("item/")] == []


def test_a_revision_never_comes_again(planner: Any, refused: Any) -> None:
    first = put(planner, "a", "k", expected=0)
    planner.ask("store.write", deletes=[[["a", "k"], first]])
    second = put(planner, "a", "k", expected=0)
    assert second > first
    for expected in (0, first):
        with refused("revision_conflict") as caught:
            put(planner, "a", "k", expected=expected)
        assert caught.value.detail == {"revision": second}
    with refused("revision_conflict"):
        planner.ask("store.write", deletes=[[["a", "k"], first]])
    assert put(planner, "a", "k", expected=second) > second


def test_all_or_nothing(driver: Any, planner: Any, refused: Any) -> None:
    put(planner, "a", "there")
    before = len(driver.log)
    with refused("revision_conflict"):
        planner.ask("store.write", puts=[[["a", "new"], b"1", {}], [["a", "there"], b"2", {"expected": 0}]])
    with refused("bad_request"):
        planner.ask("store.write", puts=[[["a", "new"], b"1", {}]], deletes=[[["a", "new"]]])
    assert len(driver.log) == before
    planner.ask("store.write", puts=[[["a", str(n)], b"1", {}] for n in range(3)], deletes=[[["a", "there"]]])
    assert found(driver) == ["a/0", "a/1", "a/2"]


def test_order_is_that_of_their_first_writing(driver: Any, planner: Any) -> None:
    """Namespaces, then items; an item that is written again keeps its place, over a restart too."""
    for path in ("b/1", "a/2", "b/2", "a/1", "a/x/1", "b/1"):
        put(planner, *path.split("/"))
    wanted = ["b/1", "b/2", "a/2", "a/1", "a/x/1"]
    assert found(driver) == wanted
    assert found(driver, "a") == wanted[2:]
    assert found(driver, "a", "x") == wanted[4:]
    assert found(driver, "a", "2") == found(driver, "") == []
    planner.ask("store.write", deletes=[[["b", "1"]]])
    put(planner, "b", "1")
    driver.restart()
    assert found(driver) == ["b/2", "b/1", *wanted[2:]]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["a", "a/b", "a/b/c", "d/b"]),
        ({"conditions": [["prefix", ["a"]]]}, ["a", "a/b", "a/b/c"]),
        ({"conditions": [["suffix", ["b"]]]}, ["a/b", "d/b"]),
        ({"conditions": [["prefix", ["a"]], ["suffix", ["c"]]]}, ["a/b/c"]),
        ({"conditions": [["prefix", ["*", "b"]]]}, ["a/b", "a/b/c", "d/b"]),
        ({"conditions": [["suffix", ["*", "*"]]]}, ["a/b", "a/b/c", "d/b"]),
        ({"depth": 1}, ["a", "d"]),
        ({"depth": 2, "limit": 2}, ["a", "a/b"]),
        ({"offset": 1, "limit": 2}, ["a/b", "a/b/c"]),
        ({"limit": 0}, []),
    ],
)
def test_namespaces(planner: Any, fields: dict[str, Any], names: list[str]) -> None:
    for name in ("d/b", "a/b", "a", "a/b/c", "gone"):
        put(planner, *name.split("/"), "key")
    planner.ask("store.write", deletes=[[["gone", "key"]]])
    assert ["/".join(name) for name in planner.ask("store.namespaces", **fields)["namespaces"]] == names


# --- time ---


def test_an_item_expires(driver: Any, planner: Any) -> None:
    revision = put(planner, "a", "k", ttl=10)
    item = get(planner, "a", "k")
    assert (item["ttl"], item["expires"]) == (10, driver.wall + 10)
    driver.advance(9)
    assert get(planner, "a", "k") is not None
    driver.advance(1)
    assert get(planner, "a", "k") is None
    assert found(driver) == []
    last = driver.log[-1]
    assert (last.type, last.subject, last.sender) == ("store.deleted", "store/a/k", "@broker")
    assert last.data == {"path": ("a", "k"), "revision": revision, "reason": "expired"}


def test_reading_and_writing_begin_its_time_anew(driver: Any, planner: Any) -> None:
    put(planner, "a", "k", ttl=10)
    put(planner, "a", "other")
    before = len(driver.log)
    for _ in range(3):
        driver.advance(8)
        planner.ask("store.get", paths=[["a", "k"], ["a", "other"], ["a", "k"], ["a", "none"]])
    assert driver.types(before) == ["store.refreshed"] * 3
    driver.advance(8)
    driver.room.items_read(planner.caller, [item.version.seq for item in driver.room.store.all()], driver.env)
    driver.flush()
    driver.advance(8)
    put(planner, "a", "k", ttl=20)
    driver.advance(19)
    assert get(planner, "a", "k", refresh=False) is not None
    driver.restart()
    driver.advance(1)
    assert get(planner, "a", "k") is None
    assert get(planner, "a", "other") is not None


def test_reading_again_at_once_costs_no_commit(driver: Any, planner: Any) -> None:
    put(planner, "a", "k", ttl=1000)
    before = len(driver.log)
    driver.advance(9)
    get(planner, "a", "k", refresh=True)
    assert driver.types(before) == []
    driver.advance(2)
    get(planner, "a", "k", refresh=True)
    assert driver.types(before) == ["store.refreshed"]
    driver.advance(999)
    assert get(planner, "a", "k") is not None
    driver.advance(1)
    assert get(planner, "a", "k") is None


def test_writing_without_a_time_takes_it_away(driver: Any, planner: Any) -> None:
    put(planner, "a", "k", ttl=10)
    put(planner, "a", "k")
    driver.advance(1000)
    assert get(planner, "a", "k") is not None


def test_an_item_past_its_time_is_gone_before_the_timer_comes(driver: Any, planner: Any) -> None:
    first = put(planner, "a", "k", ttl=10)
    driver.now += 11
    driver.wall += 11
    assert get(planner, "a", "k") is None
    assert found(driver) == []
    put(planner, "a", "k", expected=0)
    assert driver.types()[-2:] == ["store.deleted", "store.put"]
    assert get(planner, "a", "k")["created"] == driver.wall
    assert first < get(planner, "a", "k")["revision"]


# --- what is beside the value ---


def test_vectors_are_an_event_of_their_own(driver: Any, planner: Any, refused: Any) -> None:
    revision = put(planner, "a", "k", vectors=[2, bytes(16)])
    indexed = driver.log[-1]
    assert (indexed.type, indexed.subject, indexed.seq, indexed.body) == ("store.indexed", "store/a/k", revision + 1, bytes(16))
    assert indexed.data == {"revision": revision, "dims": 2}
    assert {revision, revision + 1} <= set(driver.room.retention.living())
    put(planner, "a", "k")
    assert revision + 1 not in set(driver.room.retention.living())
    for vectors in ([2, bytes(12)], [0, b""], [2, b""], [2], "x", [2, "text"], [99_999, bytes(16)], [2, bytes(2 << 20)]):
        with refused("bad_request"):
            put(planner, "a", "k", vectors=vectors)


def test_a_large_value_is_referred_to_by_its_event(driver: Any, planner: Any) -> None:
    reference = Reference.to(b"x" * 100_000)
    put(planner, "a", "k", body=reference.record)
    assert (driver.log[-1].body, driver.log[-1].ct) == (reference.body, BLOB)
    assert get(planner, "a", "k")["ct"] == BLOB


def test_labels_of_any_shape(driver: Any, planner: Any) -> None:
    paths = [["a.b", "c/d", "*"], ["", "k"], ["%", "k"], ["n\n", "ü漢"], ["a", ""], ["x", "**"]]
    for path in paths:
        put(planner, *path, body="/".join(path).encode())
    subjects = [event.subject for event in driver.log if event.type == "store.put"]
    assert subjects == ["store/a%2Eb/c%2Fd/%2A", "store/%/k", "store/%25/k", "store/n%0A/ü漢", "store/a/%", "store/x/%2A%2A"]
    for path in paths:
        assert get(planner, *path)["body"] == "/".join(path).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"puts": [[["only a key"], b"1", {}]]},
        {"puts": [[["a", 7], b"1", {}]]},
        {"puts": [[["a", "k"], "text", {}]]},
        {"puts": [[["a", "k"], b"1"]]},
        {"puts": [[["a", "k"], b"1", {"ttl": 0}]]},
        {"puts": [[["a", "k"], b"1", {"ttl": float("nan")}]]},
        {"puts": [[["a", "k"], b"1", {"expected": -1}]]},
        {"puts": [[["a"] * 65, b"1", {}]]},
        {"puts": [[["a", "k" * 3000], b"1", {}]]},
        {"deletes": [["a", "k"]]},
        {"deletes": [[["a", "k"], 1, 2]]},
        {"puts": "all"},
    ],
)
def test_what_is_no_item(planner: Any, refused: Any, fields: dict[str, Any]) -> None:
    with refused("bad_request"):
        planner.ask("store.write", **fields)


def test_a_store_is_bounded(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(items=2))
    planner = driver.agent("planner")
    put(planner, "a", "1")
    with refused("overloaded"):
        planner.ask("store.write", puts=[[["a", "2"], b"1", {}], [["a", "3"], b"1", {}]])
    put(planner, "a", "2")
    put(planner, "a", "1")
    with refused("overloaded"):
        put(planner, "b", "1")
    planner.ask("store.write", deletes=[[["a", "1"]]])
    put(planner, "b", "1")


# --- who may ---


@pytest.mark.parametrize(
    ("topics", "seen"),
    [
        (["**"], ["a/x/1", "a/y/1", "b/1"]),
        (["store/**"], ["a/x/1", "a/y/1", "b/1"]),
        (["store/a/**"], ["a/x/1", "a/y/1"]),
        (["store/a/x/*"], ["a/x/1"]),
        (["store/*/1"], ["b/1"]),
        (["a/**"], []),
    ],
)
def test_grants_narrow_what_there_is(driver: Any, planner: Any, refused: Any, topics: Sequence[str], seen: list[str]) -> None:
    for path in ("a/x/1", "a/y/1", "b/1"):
        put(planner, *path.split("/"))
    grants = [{"room": "*", "topics": topics, "verbs": ["state"]}]
    limited = driver.agent("limited", grants)
    assert found(driver, grants=grants) == seen
    assert found(driver, "a", grants=grants) == [path for path in seen if path.startswith("a")]
    names = limited.ask("store.namespaces")["namespaces"]
    assert ["/".join(name) for name in names] == sorted({path.rsplit("/", 1)[0] for path in seen})
    for path in ("a/x/1", "a/y/1", "b/1"):
        if path in seen:
            put(limited, *path.split("/"))
            assert get(limited, *path.split("/")) is not None
        else:
            with refused("not_authorized"):
                put(limited, *path.split("/"))
            with refused("not_authorized"):
                limited.ask("store.write", deletes=[[path.split("/")]])
            with refused("not_authorized"):
                get(limited, *path.split("/"))
