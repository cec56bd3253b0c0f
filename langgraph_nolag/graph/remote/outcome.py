"""How a body ended, as the result of its task.

Whatever the body did is a *completed* task: a value, an interrupt and an exception are all answers of the node, which
LangGraph's own loop deals with. A task fails only where the answer could not be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from langgraph.errors import GraphInterrupt

from ...errors import NotDecodable
from ..serde.codec import Codec

Kind = Literal["value", "interrupt", "error"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One ended body.

    Attributes:
        kind: how it ended.
        value: what it returned, the interrupts it asked, or the exception.
        writes: to LangGraph's reserved channels (answers that interrupts took), in order.
        called: how many graphs this and earlier tries called: another one goes on from there.
        visited: sub-graphs that loaded their checkpoint in this replay; None outside of replays.
        unseen: frames of what the body streamed that its orchestrator may not have.
        late: it ended so after it had been cancelled.
    """

    kind: Kind
    value: Any
    writes: Sequence[Any] = ()
    visited: Sequence[str] | None = None
    called: int = 0
    unseen: Sequence[bytes] = ()
    late: bool = False

    def encode(self, codec: Codec, node: str) -> bytes:
        """Raises: NotEncodable, NotImportable, UntrustedType: the node's result can't cross."""
        return codec.encode(
            [
                self.kind,
                codec.encode(self.value, where=f"result of node {node!r}"),
                codec.encode([list(self.writes), self.visited, self.called], where=f"answers of node {node!r}"),
                list(self.unseen),
                *([True] if self.late else []),
            ]
        )

    @classmethod
    def decode(cls, codec: Codec, data: bytes) -> Outcome:
        """Raises: NotDecodable, UntrustedType: it can't be read; `NotDecodable` too where it is laid out otherwise, by another version."""
        kind, value, (writes, visited, called), unseen, late = _parts(codec, data)
        return cls(cast(Kind, kind), codec.decode(value), writes, visited, called, unseen, late)

    @staticmethod
    def is_late(codec: Codec, data: bytes) -> bool:
        """`late` of an encoded one, whatever its value is. Raises as `decode` does."""
        return _parts(codec, data)[-1]

    def give(self) -> Any:
        """Return or raise, as the body did."""
        if self.kind == "value":
            return self.value
        if self.kind == "interrupt":
            raise GraphInterrupt(self.value)
        raise self.value


def _parts(codec: Codec, data: bytes) -> tuple[Any, bytes, Sequence[Any], Any, bool]:
    """Of an encoded outcome, its value as it is."""
    try:
        kind, value, rest, unseen, *late = codec.decode(data)
        writes, visited, called = codec.decode(rest)
    except (TypeError, ValueError) as error:
        raise NotDecodable(f"a node's answer can't be read; do both sides run the same version? {type(error).__name__}: {error}") from None
    return kind, value, (writes, visited, called), unseen, bool(late)
