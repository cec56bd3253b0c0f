"""What the processes of one run must agree on: set by the supervisor, handed down in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .agents import Agents, RuleAgents

QUESTION = "How does Python handle exceptions, context managers and coroutines?"
ROOM = "briefing"
THREAD = "briefing"
PACE = 0.15


@dataclass(frozen=True, slots=True)
class Settings:
    """`docs`: a folder, "" for the Python reference. `model`: `provider:name`, "" for none. `pace`: seconds a researcher takes over a
    passage when there is no model, so that people can watch; it changes nothing in the result."""

    docs: str = ""
    model: str = ""
    pace: float = PACE

    def environment(self) -> dict[str, str]:
        return {"BRIEFING_DOCS": self.docs, "BRIEFING_MODEL": self.model, "BRIEFING_PACE": str(self.pace)}

    @classmethod
    def from_environment(cls) -> Settings:
        get = os.environ.get
        return cls(get("BRIEFING_DOCS", ""), get("BRIEFING_MODEL", ""), float(get("BRIEFING_PACE", str(PACE))))

    def agents(self) -> Agents:
        """Raises `ModelError` when the model can't be had."""
        if not self.model:
            return RuleAgents(self.pace)
        from .models import ModelAgents, load_model

        return ModelAgents(load_model(self.model))
