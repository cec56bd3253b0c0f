"""What has a row: something of a room that recovery loads again."""

from __future__ import annotations

from typing import ClassVar, Final

SEPARATOR: Final = "\x1f"  # between the names in a key; in no name


class Entity:
    """One row among the heads. Whoever changes it touches it (`Room.touch`), and it is written once for all changes, as it is then.

    What is `logged` changes by events only. Its row is written behind the log, now and then: recovery folds what came since. Of most
    tasks nothing is written but their events, as they have come and gone by then.
    """

    __slots__ = ("stored",)
    stored: bool  # a row of it was written, so that its end must delete one
    logged: ClassVar[bool] = True

    @property
    def key(self) -> str:
        raise NotImplementedError

    def head(self) -> bytes | None:
        """The row, or None when this is no more."""
        raise NotImplementedError
