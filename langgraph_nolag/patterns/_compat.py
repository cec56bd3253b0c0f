"""Every internal of LangChain that patterns need, in one place."""

from __future__ import annotations

from typing import Any

from langchain_core.tools.base import _format_output


def shown(value: Any) -> Any:
    """What LangChain shows a model of what a tool returned: text, or blocks of content."""
    message: Any = _format_output(value, None, "", "", "success")
    return message.content
