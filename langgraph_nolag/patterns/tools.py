"""Tools: any process registers LangChain tools at run time; any agent lists, binds and calls them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import tool as as_tool

from ..client.body import decode, encode
from ..client.follow import Followed, Progress, Result
from ..client.io import hand_back, settle
from ..client.latch import Latch
from ..client.link import RoomLink
from ..client.requests import Answer, OnAnswer
from ..errors import BadRequest, NoLagError, NotEncodable, TaskFailed, TaskTimeout, ToolFailed, ToolNotFound
from .serving import HandedTask, Serving
from .task import value_of

CALL_TIMEOUT = 60.0  # seconds a call may take, unless the caller says otherwise
BaseTools = list[BaseTool]  # in the class, `list` is the method
ENDED_WITHOUT_RESULT = ("failed", "timed_out", "cancelled")
ANSWER_SLACK = 5.0  # seconds beyond that until the caller stops waiting for the broker to say so


class Tools:
    """`room.tools`."""

    def __init__(self, link: RoomLink) -> None:
        self._link = link

    def serve(
        self,
        tools: Sequence[BaseTool | Callable[..., Any]],
        *,
        capabilities: Sequence[str] = (),
        concurrency: int = 8,
        drain: float = 10.0,
    ) -> Serving:
        """Offer tools to the room: `async with room.tools.serve([search, lookup]): …`.

        Args:
            tools: LangChain tools, or functions with a docstring and annotations.
            capabilities: what these tools' callers may ask for.
            concurrency: calls at a time. Sync tools run on threads.
            drain: seconds that running calls have when serving ends.

        Raises:
            BadRequest: two tools have the same name.
        """
        named: dict[str, BaseTool] = {}
        for given in tools:
            made = as_base_tool(given)
            if made.name in named:
                raise BadRequest(f"two tools are called {made.name!r}")
            named[made.name] = made

        async def run(task: HandedTask) -> Any:
            return await run_tool(named[task.type], task.payload)

        return Serving(
            self._link,
            run,
            kind="tool",
            types=list(named),
            capabilities=capabilities,
            concurrency=concurrency,
            specs={name: describe(each) for name, each in named.items()},
            drain=drain,
        )

    async def list(self, *, timeout: float = CALL_TIMEOUT) -> list[BaseTool]:
        """The room's tools, as LangChain tools for `create_agent`, `ToolNode` and `bind_tools`.

        Args:
            timeout: seconds that each call of them may take.
        """
        answer = await self._link.acall("tool.list")
        return [proxy(self._link, entry["name"], entry["spec"], timeout) for entry in answer["tools"]]

    def list_blocking(self, *, timeout: float = CALL_TIMEOUT) -> BaseTools:
        """`list` for sync code. Raises `WrongThread` on the SDK's own thread."""
        answer = self._link.call("tool.list")
        return [proxy(self._link, entry["name"], entry["spec"], timeout) for entry in answer["tools"]]

    async def invoke(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float = CALL_TIMEOUT,
        on_progress: Callable[[Any], object] | None = None,
    ) -> Any:
        """Call a tool.

        Args:
            name: the tool.
            args: its arguments.
            timeout: seconds until the call is over, waiting for a free worker included.
            on_progress: called on this loop with each progress value.

        Raises:
            ToolNotFound: nobody serves it now.
            ToolFailed: it raised; `error_type` and `error_message` are the remote ones.
            TaskTimeout: it took too long.
            NotEncodable: the arguments are not plain.
        """
        return (await call(self._link, name, args or {}, timeout, on_progress))["content"]


# --- serving -------------------------------------------------------------------------------------------------


def as_base_tool(given: BaseTool | Callable[..., Any]) -> BaseTool:
    """A LangChain tool as it is; a function as the tool that LangChain's `@tool` makes of it."""
    if isinstance(given, BaseTool):
        return given
    if not callable(given):
        raise BadRequest(f"not a tool: {given!r}; expected a LangChain tool or a function")
    made: BaseTool = as_tool(given)
    return made


def describe(made: BaseTool) -> bytes:
    """What others must know of a tool: name, description, JSON schema of its arguments."""
    schema: Any = made.tool_call_schema
    args = schema if isinstance(schema, dict) else schema.model_json_schema()
    spec = {"name": made.name, "description": made.description, "args": args, "response_format": made.response_format}
    return encode(spec)


async def run_tool(made: BaseTool, args: Any) -> dict[str, Any]:
    """Run a tool for a remote caller: `{content, artifact?}`."""
    if not isinstance(args, dict):
        raise BadRequest(f"the arguments of {made.name} must be a map, not {type(args).__name__}")
    if made.response_format != "content_and_artifact":
        return {"content": _plain(await made.ainvoke(args))}
    message = await made.ainvoke({"type": "tool_call", "id": "remote", "name": made.name, "args": args})
    answer = {"content": _plain(message.content)}
    if message.artifact is not None:
        try:
            encode(message.artifact)
            answer["artifact"] = message.artifact
        except NotEncodable:  # an artifact is extra; one that can't travel stays at home
            answer["artifact"] = None
    return answer


def _plain(content: Any) -> Any:
    """Plain values as they are; anything else as the text that LangChain would show a model."""
    try:
        encode(content)
    except NotEncodable:
        try:
            return json.dumps(content, ensure_ascii=False, default=str)
        except (TypeError, ValueError):
            return str(content)
    return content


# --- calling -------------------------------------------------------------------------------------------------


def proxy(link: RoomLink, name: str, spec: bytes, timeout: float = CALL_TIMEOUT) -> BaseTool:
    """A tool that is run by whoever serves it."""
    described = decode(spec)
    both = described.get("response_format") == "content_and_artifact"

    def give(answer: dict[str, Any]) -> Any:
        return (answer["content"], answer.get("artifact")) if both else answer["content"]

    def run(**args: Any) -> Any:
        return give(call_blocking(link, name, args, timeout))

    async def arun(**args: Any) -> Any:
        return give(await call(link, name, args, timeout))

    return StructuredTool(
        name=name,
        description=described.get("description", ""),
        args_schema=described.get("args") or {"type": "object", "properties": {}},
        func=run,
        coroutine=arun,
        response_format="content_and_artifact" if both else "content",
    )


_key: ContextVar[str | None] = ContextVar("nolag_tool_call", default=None)


@contextmanager
def calls_keyed(key: str) -> Iterator[None]:
    """The call made inside the block happens once under this key: a second one attaches to it, running or done. One that had failed is
    made anew."""
    token = _key.set(key)
    try:
        yield
    finally:
        _key.reset(token)


def _keys() -> Iterator[str | None]:
    """The key of a call, and of those that follow when it turns out that it failed before."""
    base = _key.get()
    return itertools.repeat(None) if base is None else (f"{base}-{attempt}" for attempt in itertools.count())


async def call(
    link: RoomLink, name: str, args: Mapping[str, Any], timeout: float, on_progress: Callable[[Any], object] | None = None
) -> dict[str, Any]:
    """One call: `{content, artifact?}`."""
    for key in _keys():
        if (outcome := await _call(link, name, args, timeout, on_progress, key)) is not None:
            return outcome
    raise AssertionError("there is always another key")


async def _call(
    link: RoomLink, name: str, args: Mapping[str, Any], timeout: float, on_progress: Callable[[Any], object] | None, key: str | None
) -> dict[str, Any] | None:
    """None: under this key it failed before."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Answer] = loop.create_future()
    end: Latch[Result] = Latch()

    def progressed(progress: Progress) -> None:
        if on_progress is not None and progress.body is not None:
            hand_back(loop, _tell, on_progress, progress)

    followed = _dispatch(
        link,
        name,
        args,
        timeout,
        key,
        end,
        lambda answer, error: hand_back(loop, settle, accepted, answer, error),
        None if on_progress is None else progressed,
    )
    try:
        if _failed_before(await accepted):
            return None
        return _outcome(name, await end.wait(timeout + ANSWER_SLACK), followed)
    except TimeoutError as error:
        raise _too_late(name, timeout, error) from None
    except asyncio.CancelledError:
        _give_up(followed)
        raise


def call_blocking(link: RoomLink, name: str, args: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """`call` for sync code."""
    link.connection.io.check_may_block()
    for key in _keys():
        if (outcome := _call_blocking(link, name, args, timeout, key)) is not None:
            return outcome
    raise AssertionError("there is always another key")


def _call_blocking(link: RoomLink, name: str, args: Mapping[str, Any], timeout: float, key: str | None) -> dict[str, Any] | None:
    end: Latch[Result] = Latch()
    accepted: Latch[tuple[Answer | None, NoLagError | None]] = Latch()
    followed = _dispatch(link, name, args, timeout, key, end, lambda answer, error: accepted.set((answer, error)))
    answer, refusal = accepted.wait_blocking()
    if refusal is not None:
        raise refusal
    if answer is not None and _failed_before(answer):
        return None
    try:
        return _outcome(name, end.wait_blocking(timeout + ANSWER_SLACK), followed)
    except TimeoutError as error:
        raise _too_late(name, timeout, error) from None
    except BaseException:
        if not end.is_set:
            _give_up(followed)
        raise


def _dispatch(
    link: RoomLink,
    name: str,
    args: Mapping[str, Any],
    timeout: float,
    key: str | None,
    end: Latch[Result],
    on_accepted: OnAnswer,
    on_progress: Callable[[Progress], None] | None = None,
) -> Followed:
    fields = {"type": name, "kind": "tool", "require_live": True, "max_attempts": 1, "timeout": timeout, "key": key}
    return link.dispatch(fields, encode(dict(args)), on_end=end.set, on_accepted=on_accepted, on_progress=on_progress)


def _failed_before(answer: Mapping[str, Any]) -> bool:
    return answer["attached"] and answer["state"] in ENDED_WITHOUT_RESULT


def _outcome(name: str, end: Result, followed: Followed) -> dict[str, Any]:
    if end.reason is None:
        followed.ack()
    try:
        value: dict[str, Any] = value_of(end)
    except TaskFailed as error:
        if error.error_type == ToolNotFound.code:
            raise ToolNotFound(f"nobody serves the tool {name!r} any more") from None
        raise ToolFailed(
            f"tool {name!r} failed: {error.error_type}: {error.error_message}",
            error_type=error.error_type,
            error_message=error.error_message,
            task=error.task,
        ) from None
    except TaskTimeout as error:
        raise _too_late(name, None, error) from None
    return value


def _too_late(name: str, timeout: float | None, error: TimeoutError) -> NoLagError:
    if isinstance(error, NoLagError) and not isinstance(error, TaskTimeout):
        return error
    after = "" if timeout is None else f" within {timeout:g} s"
    return TaskTimeout(f"tool {name!r} gave no answer{after}", state="timed_out", retryable=True)


def _give_up(followed: Followed) -> None:
    try:
        followed.cancel("the caller gave up")
    except NoLagError:  # the broker can't be told; the call's own timeout ends it
        return


def _tell(on_progress: Callable[[Any], object], progress: Progress) -> None:
    on_progress(decode(progress.body, progress.ct))
