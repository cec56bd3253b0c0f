"""A chat model without a model: it answers by a rule, the same in every process and every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

Rule = Callable[[list[BaseMessage]], AIMessage]


class RuleModel(BaseChatModel):
    """Put `init_chat_model("provider:name")` in its place, and the team is one of language models."""

    rule: Rule

    @property
    def _llm_type(self) -> str:
        return "rule"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> RuleModel:
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.rule(messages))])


def call(tool: str, **args: Any) -> AIMessage:
    """What a model says that wants a tool."""
    return AIMessage("", tool_calls=[{"name": tool, "args": args, "id": f"call-{tool}"}])
