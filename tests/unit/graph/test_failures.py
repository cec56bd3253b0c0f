"""Exceptions on their way between processes: what policies and handlers look at is there."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import httpx
import msgpack
import pytest
import requests
from langgraph.types import default_retry_on

from langgraph_nolag.graph.errors import RemoteNodeError
from langgraph_nolag.graph.serde.codec import Codec
from langgraph_nolag.graph.serde.exchange import MAX_BODY
from langgraph_nolag.graph.serde.trust import Trust

codec = Codec(Trust(frozenset(), frozenset()))
REST: Any = {"notes": [], "text": "t", "traceback": "", "where": "", "cause": None}  # of what describes an exception
URL = "http://model.example/v1"


def there(error: BaseException) -> Any:
    return codec.decode(codec.encode(error))


def of_httpx(status: int, content: bytes = b"{}", **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", URL, headers={"authorization": "Bearer secret"}, content=b"private")
    response = httpx.Response(status, content=content, headers=headers, request=request)
    return httpx.HTTPStatusError("no", request=request, response=response)


def of_requests(status: int) -> requests.HTTPError:
    request = requests.Request("POST", URL, headers={"authorization": "Bearer secret"}, data=b"private").prepare()
    response = requests.Response()
    response.status_code, response.url, response.reason, response.encoding, response.request = status, URL, "Busy", "utf-8", request
    response._content = b'{"why": "busy"}'
    response.headers["Retry-After"] = "3"
    return requests.HTTPError("no", response=response)


@pytest.mark.parametrize("make", [of_httpx, of_requests])
@pytest.mark.parametrize("status", [503, 404])
def test_the_default_policy_judges_errors_of_http_alike(make: Any, status: int) -> None:
    error, copy = make(status), there(make(status))
    assert type(copy) is type(error)
    assert copy.response.status_code == status
    assert default_retry_on(copy) == default_retry_on(error)
    assert (copy.request.method, str(copy.request.url)) == ("POST", URL)


def test_a_response_is_there_with_what_was_read_of_it() -> None:
    error = there(of_httpx(429, b'{"why": "busy"}', **{"retry-after": "3", "content-type": "application/json"}))
    assert error.response.json() == {"why": "busy"}
    assert error.response.headers["retry-after"] == "3"
    error = there(of_requests(429))
    assert error.response.json() == {"why": "busy"}
    assert (error.response.headers["retry-after"], error.response.reason, error.response.url) == ("3", "Busy", URL)


def test_a_body_that_was_compressed_is_not_taken_for_one_that_is() -> None:
    import gzip

    error = there(of_httpx(500, gzip.compress(b"plain"), **{"content-encoding": "gzip"}))
    assert error.response.text == "plain"


@pytest.mark.parametrize("make", [of_httpx, of_requests])
def test_what_may_be_a_secret_stays_behind(make: Any) -> None:
    error = make(503)
    error.response.headers["set-cookie"] = "session=secret"
    data = codec.encode(error)
    assert b"secret" not in data
    assert b"private" not in data


def test_a_body_that_was_not_read_or_is_too_large_stays_behind() -> None:
    for response in (httpx.Response(503, stream=httpx.ByteStream(b"unread")), httpx.Response(503, content=b"x" * (MAX_BODY + 1))):
        data = codec.encode(httpx.HTTPStatusError("no", request=httpx.Request("GET", URL), response=response))
        assert len(data) < MAX_BODY
        assert b"unread" not in data
        assert there(httpx.HTTPStatusError("no", request=httpx.Request("GET", URL), response=response)).response.status_code == 503


class Carries(Exception):
    def __init__(self, **attributes: Any) -> None:
        super().__init__("carries")
        self.__dict__.update(attributes)


def test_an_attribute_that_can_not_travel_stays_behind_and_is_named() -> None:
    error = there(Carries(code=7, lock=asyncio.Lock(), inner=ValueError("x")))
    assert error.code == 7
    assert repr(error.inner) == repr(ValueError("x"))
    assert not hasattr(error, "lock")
    assert "its attribute 'lock', a Lock, stayed in the process where it was raised" in error.__notes__


class InSlots(Exception):
    __slots__ = ("__hidden", "code", "lock", "nothing", "unset")

    def __init__(self, code: int) -> None:
        super().__init__("in slots")
        self.code, self.lock, self.nothing, self.__hidden = code, asyncio.Lock(), None, "hidden"

    def hidden(self) -> str:
        return self.__hidden


class Misnamed(ImportError):
    """What Python keeps is hidden by its own."""

    @property
    def name(self) -> str:  # type: ignore[override]
        return "mine"


class OwnInit(OSError):
    def __init__(self, why: str) -> None:
        super().__init__(2, why, "f")


class OwnExit(SystemExit):
    pass


def test_what_is_in_slots_comes_along() -> None:
    error = there(InSlots(7))
    assert (error.code, error.nothing, error.hidden()) == (7, None, "hidden")
    assert not hasattr(error, "unset")
    assert not hasattr(error, "lock")
    assert "its attribute 'lock', a Lock, stayed in the process where it was raised" in error.__notes__


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (ImportError("x", name="n", path="p"), ("name", "path")),
        (ModuleNotFoundError("x", name="n"), ("name", "path")),
        (NameError("x", name="n"), ("name",)),
        (AttributeError("x", name="n"), ("name",)),
        (Misnamed("x", path="p"), ("name", "path")),
        (OSError(2, "no"), ("errno", "strerror", "filename")),
        (OwnInit("no"), ("errno", "strerror", "filename")),
        (OwnExit(3), ("code",)),
        (ExceptionGroup("g", [ValueError("x")]), ("message",)),
    ],
)
def test_what_python_itself_keeps_of_an_exception_comes_along(error: Any, names: tuple[str, ...]) -> None:
    copy = there(error)
    assert [getattr(copy, name) for name in names] == [getattr(error, name) for name in names]
    assert str(copy) == str(error)


def test_what_an_attribute_was_missed_on_stays_behind() -> None:
    error = AttributeError("x", name="n", obj={"key": "secret"})
    assert b"secret" not in codec.encode(error)
    assert there(error).obj is None


def test_no_error_has_a_module_imported_when_it_is_printed() -> None:
    facts = {"class": "builtins:ImportError", "args": ["x"], "attributes": {"name": "antigravity", "name_from": "fly"}}
    error = codec.decode(bytes(msgpack.packb(msgpack.ExtType(5, msgpack.packb({**facts, **REST})))))
    assert (error.name, getattr(error, "name_from", None)) == ("antigravity", None)


def test_a_payload_names_no_other_kind_of_exchange() -> None:
    facts = {"class": "builtins:ValueError", "args": ["x"], "attributes": {}, "exchanged": {"response": ["subprocess.Popen", ["ls"]]}}
    error = codec.decode(bytes(msgpack.packb(msgpack.ExtType(5, msgpack.packb({**facts, **REST})))))
    assert isinstance(error, RemoteNodeError)
    assert not hasattr(error, "response")


# --- classes that only the other side has -------------------------------------------------------------------


def unknown(*bases: type) -> BaseException:
    """Raised where its module is known, looked at where it is not."""
    module = types.ModuleType("only_there")
    cls = type("Own", bases, {"__module__": "only_there"})
    module.Own = cls  # type: ignore[attr-defined]
    sys.modules["only_there"] = module
    try:
        data = codec.encode(cls("no such thing"))
    finally:
        del sys.modules["only_there"]
    found: BaseException = codec.decode(data)
    return found


@pytest.mark.parametrize("base", [ValueError, KeyError, FileNotFoundError, ConnectionResetError, UnicodeError, Exception, StopIteration])
def test_an_unknown_class_is_still_known_by_what_it_is_one_of(base: type[Exception]) -> None:
    error = unknown(base)
    assert isinstance(error, RemoteNodeError)
    assert isinstance(error, base) is (base is not StopIteration)
    assert error.error_type == "only_there:Own"
    assert str(error) == f"only_there:Own: {error.error_message}"
    if base is not StopIteration:
        assert default_retry_on(error) == default_retry_on(base("no such thing"))


def test_an_unknown_class_of_several_kinds_is_one_of_each() -> None:
    error = unknown(KeyError, AttributeError)
    assert isinstance(error, KeyError)
    assert isinstance(error, AttributeError)


def test_what_ends_a_process_is_not_made_an_ordinary_exception_of_its_kind() -> None:
    error = unknown(KeyboardInterrupt)
    assert isinstance(error, RemoteNodeError)
    assert not isinstance(error, KeyboardInterrupt)


def test_errors_that_know_each_other() -> None:
    inner, outer = KeyError("inner"), ValueError("outer")
    inner.outer, outer.__cause__ = outer, inner  # type: ignore[attr-defined]
    error = there(outer)
    assert (type(error), error.args, type(error.__cause__)) == (ValueError, ("outer",), KeyError)
    assert "its attribute 'outer', a ValueError, stayed in the process where it was raised" in error.__cause__.__notes__


def test_a_crowd_of_errors_that_know_each_other() -> None:
    crowd = [ValueError(str(number)) for number in range(30)]
    for one in crowd:
        one.all, one.first, one.last = crowd, crowd[0], crowd[-1]  # type: ignore[attr-defined]
    assert there(crowd[0]).last.args == ("29",)


def test_a_long_chain_of_errors() -> None:
    error = last = ValueError("0")
    for number in range(1, 60):
        last.inner = ValueError(str(number))  # type: ignore[attr-defined]
        last = last.inner  # type: ignore[attr-defined]
    copy = there(error)
    for number in range(60):
        assert copy.args == (str(number),)
        copy = getattr(copy, "inner", None)
