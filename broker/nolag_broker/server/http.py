"""What the port answers to plain HTTP."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

SOCKET: Final = "/ws"


def answer(request: Request, health: dict[str, Any]) -> Response | None:
    """The answer to a request, or None for the WebSocket. `health["status"]` is `ok`, or why the broker is not."""
    path = request.path.partition("?")[0]
    if path == SOCKET:
        if health["status"] != "ok":
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"The broker is {health['status']}.\n")
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return None
        return _text(HTTPStatus.UPGRADE_REQUIRED, "This is a WebSocket. See broker/PROTOCOL.md.\n", Upgrade="websocket")
    if path == "/healthz":
        status = HTTPStatus.OK if health["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        return _respond(status, "application/json", json.dumps(health).encode() + b"\n")
    return _text(HTTPStatus.NOT_FOUND, "Nothing here: the WebSocket is /ws, health is /healthz.\n")


def _text(status: HTTPStatus, text: str, **headers: str) -> Response:
    return _respond(status, "text/plain; charset=utf-8", text.encode(), **headers)


def _respond(status: HTTPStatus, kind: str, body: bytes, **more: str) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", "Cache-Control": "no-store", **more})
    return Response(status.value, status.phrase, headers, body)
