"""What a checkpointer has to offer: a place where it stores, and itself. What is measured is common to all (`checkpoints`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver


class SaverContender(ABC):
    """One checkpointer, used as its documentation teaches it."""

    name: str
    durability: str

    @abstractmethod
    def missing(self) -> str | None:
        """What is not installed here, in words; None when all is there."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def server(self, folder: Path) -> AbstractContextManager[str]:
        """Starts what stores, on an empty folder; its address. It ends with the context."""

    @abstractmethod
    def saver(self, address: str) -> AbstractAsyncContextManager[BaseCheckpointSaver[Any]]:
        """The checkpointer of one process."""
