"""Messages that come in fragments (RFC 6455, 5.4), as a proxy may cut them, put together again."""

from __future__ import annotations


class Fragments:
    """Those of one connection. How much a message may have in all is the WebSocket library's to see to."""

    def __init__(self) -> None:
        self._parts: bytearray | None = None

    def whole(self, data: bytes, last: bool) -> bytes | None:
        """The message that these bytes end; None: it goes on."""
        if self._parts is None:
            if last:
                return data
            self._parts = bytearray()
        self._parts += data
        if not last:
            return None
        message, self._parts = bytes(self._parts), None
        return message
