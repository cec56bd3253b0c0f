"""Getting connected, from wherever one is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import socket
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from langgraph_nolag import (
    AccessDenied,
    ActorMismatch,
    BadRequest,
    BrokerUnreachable,
    Disconnected,
    LocalBroker,
    PeerNotFound,
    RoomNotFound,
    WrongThread,
    connect,
    open_room,
)
from langgraph_nolag.client import rooms
from langgraph_nolag.client.rooms import close_shared, shared_connection
from langgraph_nolag.patterns.handed import HandedTask
from langgraph_nolag.testing import eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_client_is_awaited_or_entered(broker: LocalBroker) -> None:
    client = await connect(broker.url, token=broker.token("ana"), actor="ana")
    assert (client.actor, client.url) == ("ana", broker.url)
    assert 0 < await client.ping() < 5
    await client.join("demo")
    assert await client.rooms() == ["demo"]
    await client.close()
    await client.close()
    async with connect(broker.url, token=broker.token("bo")) as client:
        assert client.actor == "bo"


async def test_who_closes_is_gone_when_close_returns(broker: LocalBroker, join: Any) -> None:
    """Not only once its grace has passed: nobody is shown, sent to or waited for who said goodbye."""
    room = await join("ana")
    async with connect(broker.url, token=broker.token("bo")) as client:
        await client.join("demo")
        assert [agent.actor for agent in await room.presence.list()] == ["ana", "bo"]
    assert [agent.actor for agent in await room.presence.list()] == ["ana"]
    with pytest.raises(PeerNotFound):
        await room.inbox.send("bo", "hello")


async def test_nobody_there_is_one_clear_error() -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnreachable, match=f"no broker at {url} within 0.3 s .*Refused.*langgraph-nolag broker"):
        await connect(url, token="t", timeout=0.3)


async def test_a_broker_that_starts_a_little_later_is_found(tmp_path: Path) -> None:
    port = free_port()
    connecting = asyncio.create_task(_first_room(f"ws://127.0.0.1:{port}", lambda: brokers[0].token("ana")))
    await asyncio.sleep(0)
    brokers = [await asyncio.to_thread(LocalBroker, port=port)]
    try:
        assert await connecting == []
    finally:
        await asyncio.to_thread(brokers[0].close)


async def _first_room(url: str, token: Any) -> list[str]:
    async with connect(url, token=token, actor="ana") as client:
        return await client.rooms()


async def test_something_else_at_the_address_is_an_error_too() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        with pytest.raises(BrokerUnreachable):
            await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", token="t", timeout=0.3)


async def test_a_bad_token_is_denied_at_once(broker: LocalBroker) -> None:
    for token in ("", "not a token", broker.token("ana")[:-3] + "xxx"):
        with pytest.raises((AccessDenied, BadRequest)) as caught:
            await connect(broker.url, token=token or "x", timeout=10)
        assert caught.value.code == "access_denied"


@pytest.mark.parametrize(
    "wrong", [{"timeout": math.nan}, {"timeout": math.inf}, {"timeout": -1}, {"timeout": "5"}, {"token": 5}, {"token": b"abc"}], ids=str
)
async def test_arguments_that_make_no_sense_are_refused(broker: LocalBroker, wrong: dict[str, Any]) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(BadRequest) as caught:
            await connect(**{"url": broker.url, "token": broker.token("ana"), **wrong})
    assert caught.value.detail["field"] == next(iter(wrong))


async def test_a_provider_that_gives_no_string_is_told_so_at_once(broker: LocalBroker) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(AccessDenied, match="the token provider gave int, not a string"):
            await connect(broker.url, token=lambda: 5)  # type: ignore[arg-type,return-value]


async def test_a_defect_ends_the_connection_for_all_who_wait(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*arguments: Any) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("langgraph_nolag.client.connection.stay_connected", fails)
    async with asyncio.timeout(5):
        with pytest.raises(Disconnected, match="ZeroDivisionError: a defect"):
            await connect(broker.url, token=broker.token("ana"))


async def test_the_actor_must_be_the_tokens(broker: LocalBroker) -> None:
    with pytest.raises(ActorMismatch, match="'ana', not for actor='bo'"):
        await connect(broker.url, token=broker.token("ana"), actor="bo")


async def test_providers_may_be_sync_or_async_and_may_block(broker: LocalBroker) -> None:
    async def provider() -> str:
        return await asyncio.to_thread(broker.token, "ana")

    for token in (provider, lambda: broker.token("ana")):
        async with connect(broker.url, token=token, actor="ana") as client:
            assert client.actor == "ana"


async def test_a_provider_that_fails_is_asked_again(broker: LocalBroker) -> None:
    tries = []

    def provider() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the vault is closed")
        return broker.token("ana")

    async with connect(broker.url, token=provider) as client:
        assert client.actor == "ana"
    assert len(tries) == 3


async def test_a_provider_that_hangs_is_asked_once(
    broker: LocalBroker, proxy: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("langgraph_nolag.client.tokens.PROVIDER_TIMEOUT", 0.05)
    caplog.set_level("DEBUG", "langgraph_nolag")
    go_on, asked = threading.Event(), []

    def provider() -> str:
        asked.append(1)
        if len(asked) > 1:
            go_on.wait(30)
        return broker.token("ana")

    async with connect(proxy.url, token=provider) as client:
        proxy.cut()
        await eventually(lambda: caplog.text.count("no connection to") >= 3)
        assert len(asked) == 2
        assert "the token provider has given nothing for 0.05 s" in caplog.text
        go_on.set()
        assert await client.ping() > 0


async def test_the_brokers_own_directory_opens_it_for_any_actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOLAG_URL", "NOLAG_TOKEN", "NOLAG_PATH"):
        monkeypatch.delenv(name, raising=False)
    with LocalBroker(tmp_path / "data") as broker:
        assert json.loads((tmp_path / "data" / "credentials.json").read_text())["url"] == broker.url
        async with connect(path=tmp_path / "data", actor="ana") as client:
            assert client.actor == "ana"
            await (await client.join("demo")).observe.emit("x")
        monkeypatch.setenv("NOLAG_PATH", str(tmp_path / "data"))
        async with connect() as client:
            assert client.actor == "admin"


async def test_where_rooms_are_not_open_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    with LocalBroker(open_rooms=False) as broker:
        async with connect(broker.url, token=broker.token("ana")) as client:
            with pytest.raises(RoomNotFound):
                await client.join("typo")
            assert await client.rooms() == []


# --- threads and loops ---------------------------------------------------------------------------------------


def test_links_work_from_plain_threads(broker: LocalBroker) -> None:
    link = open_room(broker.room("demo"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: link.call("blackboard.set", key=f"k{n}", body=b"\x01"), range(100)))
    assert len(link.call("blackboard.list")["entries"]) == 100
    assert open_room(f"{broker.url}/demo", token=broker.room("demo").token) is link
    assert link.actor == "local"


def test_one_room_is_used_from_two_loops_at_once(broker: LocalBroker) -> None:
    async def work(room: Any, name: str) -> list[Any]:
        async def handler(task: HandedTask) -> str:
            return f"{name} {task.payload}"

        async with room.handoff.serve(handler, types=[name], concurrency=5):
            tasks = [await room.handoff.dispatch(name, n) for n in range(50)]
            return [await task.result(10) for task in tasks]

    async def both() -> None:
        async with connect(broker.url, token=broker.token("ana")) as client:
            room = await client.join("demo", max_concurrency=10)
            there: list[Any] = []
            thread = threading.Thread(target=lambda: there.append(asyncio.run(work(room, "there"))))
            thread.start()
            here = await work(room, "here")
            await asyncio.to_thread(thread.join)
            assert here == [f"here {n}" for n in range(50)]
            assert there == [[f"there {n}" for n in range(50)]]

    asyncio.run(both())


async def test_blocking_calls_work_inside_a_running_loop(broker: LocalBroker) -> None:
    """A notebook's cell runs inside a loop: what blocks it must not need it."""
    link = open_room(broker.room("demo"))
    link.call("blackboard.set", key="k", body=b"\x01")
    assert link.call("blackboard.get", key="k")["entry"]["revision"] == 1
    with LocalBroker() as other:
        assert open_room(other.room("x")).call("room.info")["name"] == "x"


async def test_a_blocked_loop_starves_no_heartbeat(stack: AsyncExitStack) -> None:
    with LocalBroker(lease=0.6, disconnect_grace=0.1) as broker:
        client = await stack.enter_async_context(connect(broker.url, token=broker.token("ana")))
        room = await client.join("demo")
        attempts: list[int] = []

        async def handler(task: HandedTask) -> str:
            attempts.append(task.attempt)
            threading.Event().wait(2.0)  # blocks this loop for more than three leases
            return "once"

        async with room.handoff.serve(handler):
            task = await room.handoff.dispatch("t")
            assert await task.result(20) == "once"
        assert attempts == [1]
        await client.close()


def test_blocking_on_the_io_thread_is_refused(broker: LocalBroker) -> None:
    link = open_room(broker.room("demo"))

    async def block() -> None:
        link.call("room.info")

    with pytest.raises(WrongThread):
        link.connection.io.run(block())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(broker: LocalBroker) -> None:
    handle = broker.room("demo")
    link = open_room(handle)
    link.call("blackboard.set", key="k", body=b"\x01")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            mine = open_room(handle)
            mine.call("blackboard.set", key="k", body=b"\x02")
            os.write(writer, b"same" if mine.instance == link.instance else b"own")
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"own"
    os.close(reader)
    assert link.call("blackboard.get", key="k")["entry"]["body"] == b"\x02"


# --- the local broker ----------------------------------------------------------------------------------------


def test_a_handle_or_an_address_leads_to_a_room_and_nothing_else_does(broker: LocalBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = broker.room("demo")
    assert "token" not in repr(handle)
    monkeypatch.setenv("NOLAG_TOKEN", handle.token)
    assert open_room(f"{broker.url}/demo").room == "demo"
    for wrong in (broker.url, "demo", 5, None):
        with pytest.raises(BadRequest):
            open_room(wrong)  # type: ignore[arg-type]


def test_a_broker_on_disk_keeps_what_it_was_told(tmp_path: Path) -> None:
    with LocalBroker(tmp_path) as broker:
        open_room(broker.room("demo")).call("blackboard.set", key="k", body=b"\x07")
    with LocalBroker(tmp_path) as broker:
        assert open_room(broker.room("demo")).call("blackboard.get", key="k")["entry"]["body"] == b"\x07"


def test_a_port_in_use_and_a_directory_in_use_are_said_clearly(broker: LocalBroker, tmp_path: Path) -> None:
    port = int(broker.url.rpartition(":")[2])
    with pytest.raises(Exception, match=str(port)):
        LocalBroker(port=port)
    with LocalBroker(tmp_path), pytest.raises(Exception, match=r"in use|another"):
        LocalBroker(tmp_path)


def test_a_token_that_makes_no_sense_is_refused_like_any_request(broker: LocalBroker) -> None:
    with pytest.raises(BadRequest, match="ttl"):
        broker.token("ana", ttl=-5)
    with pytest.raises(BadRequest, match="unknown verb 'fly'"):
        broker.token("ana", grants=[{"room": "demo", "verbs": ["fly"]}])


async def test_it_can_be_entered_async_and_closed_twice() -> None:
    async with LocalBroker() as broker:
        async with connect(broker.url, token=broker.token("ana")) as client:
            await client.ping()
        assert "in memory" in repr(broker)
    broker.close()
    assert "closed" in repr(broker)


def test_a_forgotten_broker_ends() -> None:
    """Wherever the collector comes: in the midst of something that ending it needs, too."""
    broker = LocalBroker()
    shared_connection(broker.url, broker.token("ana")).call("ping")
    thread, gone = broker._running._thread, weakref.ref(broker)
    with rooms._lock:
        del broker
        gc.collect()
    assert gone() is None
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("program", ["broker = LocalBroker(PATH)", "def main(): broker = LocalBroker(PATH)\nmain()"])
def test_it_ends_with_the_process(tmp_path: Path, program: str) -> None:
    """Whether somebody still holds it then or not."""
    begin = f"from langgraph_nolag import LocalBroker\nPATH = {str(tmp_path)!r}\n"
    done = subprocess.run([sys.executable, "-c", begin + program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    left = {path.name for path in tmp_path.iterdir()}
    assert "rooms.db" in left
    assert not {"credentials.json", "rooms.db-wal"} & left


def test_a_local_broker_prints_nothing_of_its_own() -> None:
    program = (
        "import asyncio\n"
        "from langgraph_nolag import AccessDenied, LocalBroker, connect\n"
        "async def main():\n"
        "    with LocalBroker() as broker:\n"
        "        try:\n"
        "            await connect(broker.url, token='forged')\n"
        "        except AccessDenied:\n"
        "            print('denied')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "denied\n"


AT_THE_END = """
import atexit, weakref

class Thing: ...
thing = Thing()
weakref.finalize(thing, print, "finalizers run")  # used before us: the finalizers' turn at exit comes after that of our I/O thread

def late():
    try:
        connection.call("ping")
    except Disconnected as error:
        print(error)

atexit.register(late)
from langgraph_nolag import Disconnected, LocalBroker, open_room

broker = LocalBroker()
connection = open_room(broker.room("demo")).connection
connection.call("ping")
"""


def test_a_process_that_closes_nothing_ends_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-X", "dev", "-c", AT_THE_END], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "the process is ending\nfinalizers run\n")
    assert "Traceback" not in done.stderr
    assert "destroyed" not in done.stderr


def test_closing_ends_the_shared_connections() -> None:
    with LocalBroker() as broker:
        link = open_room(broker.room("demo"))
        link.call("room.info")
    assert link.connection.ended is not None


WORKER = """
import asyncio, os, sys
from langgraph_nolag import connect

async def main():
    async with connect(actor=None) as client:
        room = await client.join("demo")
        async def handler(task):
            return client.actor
        async with room.handoff.serve(handler):
            await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_process_finds_the_broker_through_its_environment(broker: LocalBroker) -> None:
    environment = {**os.environ, "NOLAG_URL": broker.url, "NOLAG_TOKEN": broker.token("child")}
    process = subprocess.Popen([sys.executable, "-c", WORKER], env=environment)
    try:

        async def ask() -> Any:
            async with connect(broker.url, token=broker.token("desk")) as client:
                room = await client.join("demo")
                return await (await room.handoff.dispatch("t")).result(20)

        assert asyncio.run(ask()) == "child"
    finally:
        process.kill()
        process.wait()


MODULE = """
from langgraph_nolag import Worker
app = Worker(room="demo", concurrency=2)

@app.task("whoami")
async def whoami(task):
    return "worker"
"""


@pytest.fixture
def worker_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "team_of_workers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "team_of_workers:app"


async def test_spawned_workers_serve_and_end_with_the_broker(worker_module: str) -> None:
    async with LocalBroker() as broker:
        workers = broker.spawn_worker(worker_module, n=2)
        for worker in workers:
            await asyncio.to_thread(worker.wait_ready, 30)
        assert [worker.actor for worker in workers] == ["worker-1", "worker-2"]
        async with connect(broker.url, token=broker.token("desk")) as client:
            room = await client.join("demo")
            assert await (await room.handoff.dispatch("whoami")).result(20) == "worker"
            workers[0].kill()
            assert workers[0].returncode == -9
            assert await (await room.handoff.dispatch("whoami")).result(30) == "worker"
    assert workers[1].returncode is not None


def test_workers_end_when_their_parent_is_killed(worker_module: str, tmp_path: Path) -> None:
    program = (
        "from langgraph_nolag import LocalBroker\n"
        "broker = LocalBroker()\n"
        f"worker, = broker.spawn_worker({worker_module!r})\n"
        "worker.wait_ready()\n"
        "print(worker.pid, flush=True)\n"
        "input()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.communicate()
    asyncio.run(eventually(lambda: not _alive(pid), timeout=20))


def test_a_ctrl_c_at_whoever_spawned_workers_leaves_them_alone(worker_module: str, tmp_path: Path) -> None:
    """A terminal sends it to a whole group of processes, and so does Jupyter when a cell is interrupted: the next cell wants them."""
    program = (
        "import asyncio, os, signal, time\n"
        "from langgraph_nolag import LocalBroker, connect\n"
        "async def ask():\n"
        "    async with connect(broker.url, token=broker.token('desk')) as client:\n"
        "        room = await client.join('demo')\n"
        "        return await (await room.handoff.dispatch('whoami')).result(20)\n"
        "with LocalBroker() as broker:\n"
        f"    worker, = broker.spawn_worker({worker_module!r})\n"
        "    worker.wait_ready()\n"
        "    try:\n"
        "        os.killpg(0, signal.SIGINT)\n"
        "        time.sleep(30)\n"
        "    except KeyboardInterrupt:\n"
        "        print(asyncio.run(ask()), worker.returncode)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, start_new_session=True, check=False)
    assert (done.stdout, done.returncode) == ("worker None\n", 0), done.stderr


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_that_can_not_start_says_so_instead_of_being_waited_for() -> None:
    with LocalBroker() as broker:
        (worker,) = broker.spawn_worker("no_such_module_at_all:app")
        with pytest.raises(Exception, match="ended before it was ready"):
            worker.wait_ready(30)


def test_a_closed_broker_starts_no_workers() -> None:
    with LocalBroker() as broker:
        pass
    with pytest.raises(BrokerUnreachable, match="is closed"):
        broker.spawn_worker("no_such_module_at_all:app")


def test_a_worker_that_there_is_no_program_for_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalBroker() as broker:
        monkeypatch.setattr(sys, "executable", "/no/such/program")
        before = _pipes()
        with pytest.raises(FileNotFoundError):
            broker.spawn_worker("no_such_module_at_all:app")
        assert _pipes() <= before


def _pipes() -> set[str]:
    """The pipes that this process holds."""
    held = set()
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # of this very listing
            held.add(os.readlink(file))
    return {name for name in held if name.startswith("pipe:")}


def test_shared_connections_are_made_anew_after_their_end(broker: LocalBroker) -> None:
    handle = broker.room("demo")
    first = shared_connection(handle.url, handle.token)
    assert shared_connection(handle.url, handle.token) is first
    close_shared(broker.url)
    assert shared_connection(handle.url, handle.token) is not first
    assert open_room(handle).call("room.info")["name"] == "demo"


async def test_a_broker_that_is_away_is_told_once_and_so_is_its_return(
    durable: Any, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """The second time too, soon after it was back."""
    client = await stack.enter_async_context(connect(durable.url, token=durable.token("ana"), actor="ana"))
    room = await client.join("demo")

    def told() -> list[str]:
        return [record.getMessage().split(" to ")[0] for record in caplog.records if durable.url in record.getMessage()]

    for times in (1, 2):
        await asyncio.to_thread(durable.stop)
        await eventually(lambda: told() == ["no connection", "connected"] * (times - 1) + ["no connection"])  # noqa: B023
        await asyncio.to_thread(durable.start)
        await room.observe.emit("still.here")
        assert told() == ["no connection", "connected"] * times
