"""A chat model that does as it is told, by a function of the messages: the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

Reply = Callable[[list[BaseMessage], list[str]], AIMessage]


class ToldModel(BaseChatModel):
    """`reply` gets the messages and the names of the tools that are bound."""

    reply: Reply = Field(exclude=True)
    bound: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "told"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.model_copy(update={"bound": [tool["name"] if isinstance(tool, dict) else tool.name for tool in tools]})

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.reply(messages, self.bound))])


def calling(*wanted: tuple[str, dict[str, Any]]) -> AIMessage:
    """A message that asks for these tools."""
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"{name}-{place}"} for place, (name, args) in enumerate(wanted)])


def in_turn(*replies: AIMessage) -> Reply:
    """The first reply to the first turn of the model, and so on."""

    def reply(messages: list[BaseMessage], bound: list[str]) -> AIMessage:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        return replies[min(turn, len(replies) - 1)].model_copy()

    return reply
