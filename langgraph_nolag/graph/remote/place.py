"""Where a node's body runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..serde.codec import Codec

if TYPE_CHECKING:
    from ...client.link import RoomLink

CANCEL_TIMEOUT: Final = 5.0  # seconds that a cancelled node has to end on its worker, where nobody says otherwise


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node's body runs.

    Attributes:
        link: the room.
        graph: `name@fingerprint`.
        node: path of the node.
        capabilities: what a worker must have.
        codec: of the graph.
        timeout: seconds until the room gives up; None: never.
        cancel_timeout: seconds that it has to end where it is cancelled.
    """

    link: RoomLink
    graph: str
    node: str
    capabilities: tuple[str, ...]
    codec: Codec
    timeout: float | None = None
    cancel_timeout: float = CANCEL_TIMEOUT
