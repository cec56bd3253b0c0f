"""What has a row: something of a room that recovery loads again."""

from __future__ import annotations


class Entity:
    """One row among the heads. Whoever changes it touches it (`Room.touch`), and the turn writes it once, as it is then."""

    __slots__ = ("stored",)
    stored: bool  # a row of it was written, so that its end must delete one

    @property
    def key(self) -> str:
        raise NotImplementedError

    def head(self) -> bytes | None:
        """The row, or None when this is no more."""
        raise NotImplementedError
