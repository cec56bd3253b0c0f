"""Requests and responses that the exceptions of HTTP clients carry, as data: retry policies and handlers look into them.

What could be a secret stays behind: the headers of a request, its body, and cookies. So does the body of a response that was never read, or
is too large. Each is rebuilt by its own library, whose names stand here and never in a payload.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

MAX_BODY: Final = 256 << 10  # bytes of a response
_LEFT: Final = frozenset({"set-cookie", "content-encoding", "transfer-encoding", "content-length"})  # what is kept of a body is decoded


def describe(value: Any) -> list[Any] | None:
    """What `rebuild` needs; None for what is neither request nor response."""
    cls = type(value)
    name = f"{cls.__module__}.{cls.__qualname__}"
    return [name, _KINDS[name][0](value)] if name in _KINDS else None


def rebuild(facts: Any) -> Any:
    name, plain = facts
    return _KINDS[name][1](plain)


def _headers(headers: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [[name, text] for name, text in headers if name.lower() not in _LEFT]


def _body(content: Any) -> bytes | None:
    return content if isinstance(content, bytes) and len(content) <= MAX_BODY else None


def _request(request: Any) -> list[str] | None:
    return None if request is None else [str(request.method), str(request.url)]


# --- httpx --------------------------------------------------------------------------------------------------


def _httpx_response(response: Any) -> list[Any]:
    try:
        body = _body(response.content)
    except sys.modules["httpx"].StreamError:
        body = None
    return [response.status_code, _headers(response.headers.multi_items()), body, _request(response._request)]


def _to_httpx_request(plain: Any) -> Any:
    import httpx

    return None if plain is None else httpx.Request(*plain)


def _to_httpx_response(plain: Any) -> Any:
    import httpx

    status, headers, body, request = plain
    return httpx.Response(status, headers=[(name, text) for name, text in headers], content=body, request=_to_httpx_request(request))


# --- requests -----------------------------------------------------------------------------------------------


def _requests_response(response: Any) -> list[Any]:
    about = [response.status_code, response.reason, response.url, response.encoding]
    return [*about, _headers(response.headers.items()), _body(response._content), _request(response.request)]


def _to_requests_request(plain: Any) -> Any:
    from requests.models import PreparedRequest
    from requests.structures import CaseInsensitiveDict

    if plain is None:
        return None
    request = PreparedRequest()
    request.method, request.url = plain
    request.headers = CaseInsensitiveDict()
    return request


def _to_requests_response(plain: Any) -> Any:
    from requests.models import Response

    response = Response()
    response.status_code, response.reason, response.url, response.encoding, headers, body, request = plain
    response.headers.update(dict(headers))
    response._content = body
    response._content_consumed = True
    response.request = _to_requests_request(request)
    return response


_KINDS: Final[dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "httpx.Request": (_request, _to_httpx_request),
    "httpx.Response": (_httpx_response, _to_httpx_response),
    "requests.models.PreparedRequest": (_request, _to_requests_request),
    "requests.models.Response": (_requests_response, _to_requests_response),
}
