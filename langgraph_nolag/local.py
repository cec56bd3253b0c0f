"""A broker in this process, for notebooks, tests and small programs: nothing to install, nothing to configure."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from nolag_broker.wire.codes import Refusal

from .client.io import on_fork
from .client.moment import check_seconds
from .client.names import names
from .client.rooms import RoomHandle, close_shared, shared_connection
from .errors import BrokerUnreachable, NoLagError, from_wire

if TYPE_CHECKING:
    from nolag_broker.server.broker import Broker

log = logging.getLogger("langgraph_nolag")

STOP_WITHIN = 15.0  # seconds that the broker has to stop
WORKER_WITHIN = 10.0  # seconds that a terminated worker has to drain
LOOK_WITHIN = 2.0  # seconds that a notebook's picture may take
OWN_ACTOR = "local"


class WorkerProcess:
    """A worker that runs as a process of its own.

    Attributes:
        actor: who it is: `worker-1`, `worker-2` …
        pid: its process id.
    """

    def __init__(self, broker: _Running, actor: str, process: subprocess.Popen[bytes], lifeline: FileIO) -> None:
        self.actor = actor
        self._broker = broker
        self._process = process
        self._lifeline = lifeline  # closed with us, whatever we die of: the worker sees it and ends. A file's `close` may come twice

    def __repr__(self) -> str:
        return f"WorkerProcess({self.actor!r}, pid={self.pid}, {'running' if self.returncode is None else f'ended with {self.returncode}'})"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to drain and end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once (SIGKILL), and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self._lifeline.close()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; its exit code. Raises `TimeoutError`."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self!r} has not ended within {timeout:g} s") from None
        self._lifeline.close()
        return code

    def wait_ready(self, timeout: float = 30.0) -> Self:
        """Wait until it is present in a room and serves. Blocks.

        Raises:
            NoLagError: it ended before; its own words are on stderr.
            TimeoutError: it is not there in time.
        """
        check_seconds(timeout, "timeout")
        deadline = time.monotonic() + timeout
        while not self._broker.is_serving(self.actor):
            if self.returncode is not None:
                raise NoLagError(f"{self!r} ended before it was ready; what it said is on stderr", code="worker_ended")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self!r} is not ready after {timeout:g} s")
            time.sleep(0.02)
        return self

    def _end(self, deadline: float) -> None:
        try:
            self.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            self.kill()


class LocalBroker:
    """A broker on a thread of its own, listening on loopback. It runs when the constructor returns.

    `with LocalBroker() as broker: …`, `async with` too, or keep it and call `close()`; otherwise it ends with the process.

    Args:
        path: a directory that keeps the data (SQLite); None: in memory, gone with the broker.
        port: 0: a free one.
        settings: further settings of the broker, for example `lease=2.0`.

    Raises:
        nolag_broker.server.errors.CannotStart: for example, the port is in use.
        nolag_broker.engine.base.DatabaseInUse, DatabaseTooNew: the message says what to do.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, port: int = 0, **settings: Any) -> None:
        from nolag_broker.settings import Settings

        engine: Literal["memory", "sqlite"] = "memory" if path is None else "sqlite"
        directory = Path(gettempdir() if path is None else path)  # the memory engine writes nothing
        self._settings = Settings(engine=engine, path=directory, port=port, **settings)
        self._workers: list[WorkerProcess] = []
        self._count = 0
        self._lock = threading.Lock()
        self._running = _Running(self._settings)
        self.url = self._running.url
        self._finalizer = weakref.finalize(self, _stop_aside, self._running, self._workers)
        self._finalizer.atexit = False
        _open.add(self)

    def __repr__(self) -> str:
        where = "in memory" if self._settings.engine == "memory" else str(self._settings.path)
        return f"LocalBroker({self.url}, {where}{'' if self._finalizer.alive else ', closed'})"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: where it is, and what its rooms hold now."""
        from .html import broker_html

        if not self._finalizer.alive:
            return None
        try:
            return broker_html(repr(self), self._running.rooms())
        except NoLagError:  # a picture is no reason for a traceback: the text is shown instead
            return None

    def token(
        self,
        actor: str,
        grants: Sequence[Mapping[str, Any]] | None = None,
        roles: Iterable[str] = (),
        ttl: float = 30 * 86400.0,
    ) -> str:
        """A token for one actor.

        Args:
            actor: who acts with it.
            grants: `[{"room": …, "topics": […], "verbs": […]}]`; None: every room, every verb but `admin`.
            roles: for approvals.
            ttl: seconds it lives.

        Raises:
            BadRequest: an unknown verb, a bad pattern, a lifetime that is not positive, roles that are no list.
        """
        try:
            return self._running.broker.mint(actor, grants, names(roles, "roles"), ttl)
        except Refusal as refusal:
            raise from_wire(refusal.to_wire()) from None

    def room(self, name: str) -> RoomHandle:
        """A handle for `distribute()`, `NoLagSaver()`, `remote_tools()` and the like, as the actor `local`."""
        return RoomHandle(self.url, name, self._running.own_token)

    def spawn_worker(self, target: str, n: int = 1) -> list[WorkerProcess]:
        """Start worker processes, `langgraph-nolag worker TARGET`, each an actor of its own. They end with the broker.

        Args:
            target: `module:attribute` of a `Worker`; what this process can import, they can.
            n: how many.

        Raises:
            BrokerUnreachable: the broker is closed.
        """
        if not self._finalizer.alive:
            raise BrokerUnreachable(f"the broker at {self.url} is closed: a worker would serve nobody")
        started = []
        for _ in range(n):
            with self._lock:
                self._count += 1
                actor = f"worker-{self._count}"
            started.append(self._spawn(actor, target))
        return started

    def _spawn(self, actor: str, target: str) -> WorkerProcess:
        paths = dict.fromkeys((os.getcwd(), *(entry for entry in sys.path if entry and os.path.isdir(entry))))
        environment = {
            **os.environ,
            "NOLAG_URL": self.url,
            "NOLAG_TOKEN": self.token(actor),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        end_of_theirs, end_of_ours = os.pipe()
        lifeline = FileIO(end_of_ours, "wb")
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "langgraph_nolag.lifeline", str(end_of_theirs), "langgraph_nolag", "worker", target],
                env=environment,
                pass_fds=(end_of_theirs,),
                stdin=subprocess.DEVNULL,
                stdout=2,  # what they print goes to our stderr: our own output is for what we print
                process_group=0,  # a Ctrl-C is for us: what we run may be interrupted, and go on with the same workers
            )
        except BaseException:
            lifeline.close()
            raise
        finally:
            os.close(end_of_theirs)
        worker = WorkerProcess(self._running, actor, process, lifeline)
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        """End the workers, then the broker. Blocks, within a bound; a second call does nothing."""
        if self._finalizer.detach() is not None:
            _stop(self._running, self._workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self.close)


_open: weakref.WeakSet[LocalBroker] = weakref.WeakSet()
on_fork(_open.clear)


@atexit.register
def _at_exit() -> None:
    """Registered after the I/O thread's own end, so it comes before it. (When the finalizers of `weakref` come is not in our hands.)"""
    with ExitStack() as stack:
        for broker in list(_open):
            stack.callback(broker.close)


class _Running:
    """The thread that the broker runs on."""

    def __init__(self, settings: Any) -> None:
        self.broker: Broker
        self.url = ""
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="nolag-local-broker", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        self.own_token = self.broker.mint(OWN_ACTOR)

    def _main(self) -> None:
        _log_like_others()
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from nolag_broker.server.broker import Broker

        self._loop = asyncio.get_running_loop()
        self.broker = Broker(self._settings)
        await self.broker.start()
        self.url = self.broker.url
        self._started.set()
        ends = [asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(self.broker.failed())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await self.broker.stop()
        if self.broker.failure is not None:
            log.error("the local broker has stopped: %s", self.broker.failure)

    def rooms(self) -> list[dict[str, Any]]:
        """`room.info` of every room. Blocks."""
        connection = shared_connection(self.url, self.own_token)
        names = [room["name"] for room in connection.call("rooms.list", within=LOOK_WITHIN)["rooms"]]
        return [connection.call("room.info", within=LOOK_WITHIN, room=name) for name in names]

    def is_serving(self, actor: str) -> bool:
        """Whether an actor, or a process that acts for it (`actor/…`), is in any room and past its start. Blocks."""
        connection = shared_connection(self.url, self.own_token)
        for room in connection.call("rooms.list")["rooms"]:
            for member in connection.call("presence.list", room=room["name"])["members"]:
                ours = member["actor"] == actor or member["actor"].startswith(actor + "/")
                if ours and member["online"] and member["status"] != "starting":
                    return True
        return False

    def stop(self) -> None:
        if self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(STOP_WITHIN)
            if self._thread.is_alive():
                raise TimeoutError(f"the local broker did not stop within {STOP_WITHIN:g} s")
        if self._failure is not None:
            raise self._failure


def _log_like_others() -> None:
    """The broker's log goes where `logging` sends it. structlog, left as it is, would print to stdout, into its user's own output."""
    import structlog

    if not structlog.is_configured():
        structlog.configure(
            processors=[structlog.stdlib.add_log_level, structlog.processors.format_exc_info, structlog.stdlib.render_to_log_kwargs],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )


def _stop_aside(running: _Running, workers: list[WorkerProcess]) -> None:
    """Of a broker that was forgotten: the collector comes on any thread, which may be the I/O thread, or hold a lock that this needs.
    The process waits for it at its end."""
    threading.Thread(target=_stop, args=(running, workers), name="nolag-local-broker-end").start()


def _stop(running: _Running, workers: list[WorkerProcess]) -> None:
    for worker in workers:
        if worker.returncode is None:
            worker.terminate()
    deadline = time.monotonic() + WORKER_WITHIN
    for worker in workers:
        worker._end(deadline)
    try:
        close_shared(running.url)
    finally:
        running.stop()
