"""Every setting of a broker, in one frozen object."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Times in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(7420, ge=0, le=65535)  # 0: a free one
    path: Path = Path(".nolag")
    engine: Literal["sqlite", "memory"] = "sqlite"
    insecure: bool = False  # bind beyond loopback without TLS
    open_rooms: bool | None = None  # anyone may open a room; None: on loopback only

    lease: float = Field(30.0, gt=0)  # how long the tasks of a silent process stay its own
    disconnect_grace: float = Field(3.0, ge=0)  # the same, once its connection is seen to be closed
    auth_timeout: float = Field(5.0, gt=0)
    max_body: int = Field(16 << 20, gt=0)
    max_value: int = Field(64 << 20, gt=0)  # of one that is sent piece by piece
    keep_uploads: float = Field(3600.0, gt=0)  # large values that nothing refers to
    max_send_queue: int = Field(32 << 20, gt=0)  # per connection; a reader that falls behind further is evicted
    max_backlog: int = Field(100_000, gt=0)  # live tasks of a room
    max_connections: int = Field(10_000, gt=0)
    body_cache: int = Field(64 << 20, ge=0)
    log_age: float | None = Field(30 * 86400, gt=0)  # of rooms without a policy of their own; None: for ever
    log_count: int | None = Field(None, gt=0)  # events
    log_bytes: int | None = Field(10 << 30, gt=0)
    trim_every: float = Field(60.0, gt=0)
    unload_after: float = Field(600.0, gt=0)  # a room that nobody uses leaves the memory
    keep_keys: float = Field(7 * 86400, gt=0)  # finished tasks that have an idempotency key

    @property
    def max_frame(self) -> int:
        """Of a WebSocket message: a body and everything around it."""
        return self.max_body + (1 << 20)

    @property
    def heartbeat(self) -> float:
        """How often a client says that it lives. A connection is dead after two of them and 5 seconds: never later than 25 seconds."""
        return min(self.lease / 3, 10.0)
