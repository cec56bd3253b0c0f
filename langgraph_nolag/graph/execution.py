"""Which execution of a node this is: what makes a second run of it attach, instead of doing things twice."""

from __future__ import annotations

import hashlib
import uuid

from langchain_core.runnables import RunnableConfig


def execution_key(config: RunnableConfig, *parts: str) -> str:
    """The same for every run of one node execution, after a crash too, in whatever process.

    Made of the thread and of LangGraph's namespace of the execution, which holds its task id. A graph without a
    checkpointer has no second run: each call gets a key of its own.

    Args:
        config: what the node was called with.
        parts: what is done in it, where it does several things.
    """
    configurable = config.get("configurable", {})
    thread = configurable.get("thread_id")
    whose = [str(thread), str(configurable.get("checkpoint_ns", ""))] if thread is not None else [uuid.uuid4().hex]
    return digest("node", *whose, *parts)


def digest(kind: str, *parts: str) -> str:
    """`kind-<hash of the parts>`, the same in every process."""
    hashed = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(8, "big") + encoded)
    return f"{kind}-{hashed.hexdigest()[:32]}"
