"""A broker that is a process of its own is killed again and again: what was answered stays, and nothing happens twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from langgraph.store.base import PutOp

from langgraph_nolag import NoLagStore

KILLS = 4


class BrokerProcess:
    """A broker that comes back at the same address."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "nolag_broker", "--path", str(self._path), "--port", str(self._port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(15)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def store(self) -> NoLagStore:
        return NoLagStore(f"{self.url}/r", token=json.loads((self._path / "credentials.json").read_text())["token"])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path)
    yield broker
    broker.kill()


def test_what_was_answered_stays(broker: BrokerProcess) -> None:
    """Updates are counted once each, batches are whole, a watch sees every change once and in order."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    store, over = broker.store(), Event()
    counted, written = [0, 0], [0, 0]

    def count(which: int) -> None:
        while not over.is_set():
            store.update(("counts",), "all", lambda value: {"n": (value or {"n": 0})["n"] + 1})
            counted[which] += 1

    def write(which: int) -> None:
        while not over.is_set():
            number = written[which] + 1
            store.batch([PutOp(("batches", str(which)), key, {"n": number}) for key in "abc"])
            written[which] = number

    async def watch() -> list[int]:
        seen: list[int] = []
        async with store.watch(("counts",)) as changes:
            async for change in changes:
                assert change.value is not None
                seen.append(change.value["n"])
                if change.value.get("last"):
                    return seen
        raise AssertionError("unreachable")

    with ThreadPoolExecutor(5) as pool:
        working = [pool.submit(count, 0), pool.submit(count, 1), pool.submit(write, 0), pool.submit(write, 1)]
        watching = pool.submit(asyncio.run, asyncio.wait_for(watch(), 60))
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.4))
            broker.kill()
            broker.start()
        done = sum(counted)
        while sum(counted) < done + 10:  # everybody is back
            assert all(not work.done() for work in working)
            time.sleep(0.01)
        over.set()
        for work in working:
            work.result(30)
        store.update(("counts",), "all", lambda value: {"n": (value or {"n": 0})["n"] + 1, "last": True})
        seen = watching.result(60)
    item = store.get(("counts",), "all")
    assert item is not None
    assert item.value == {"n": sum(counted) + 1, "last": True}
    assert seen == list(range(seen[0], sum(counted) + 2))
    for which in (0, 1):
        assert [found.value["n"] for found in store.search(("batches", str(which)))] == [written[which]] * 3


def test_everything_is_there_after_a_crash(broker: BrokerProcess) -> None:
    """Order, time, vectors and deletions too."""
    store = broker.store()
    store.batch(
        [PutOp(("b",), "1", {"n": 1}), PutOp(("a",), "2", {"n": 2}), PutOp(("a",), "gone", {"n": 3}), PutOp(("a",), "3", {}, ttl=5)]
    )
    store.put(("a",), "2", {"n": 22, "large": "x" * 200_000})
    store.delete(("a",), "gone")
    before = store.search(())
    told = store.link.call("store.get", paths=[["a", "3"]], refresh=False)["items"]
    broker.kill()
    broker.start()
    assert store.search((), refresh_ttl=False) == before
    assert [item.key for item in before] == ["1", "2", "3"]
    [(after)] = store.link.call("store.get", paths=[["a", "3"]], refresh=False)["items"]
    assert after["expires"] >= told[0]["expires"]
    assert after["ttl"] == 300
    assert store.list_namespaces() == [("a",), ("b",)]
