"""All contenders, in the order of their tables; the first of a table is the one the others are compared with."""

from __future__ import annotations

from .base import Contender
from .celery_redis import Celery
from .mcp_http import Mcp, McpAdapters
from .nats_jetstream import Nats
from .nolag import NoLag
from .nolag_tools import NoLagTool
from .rabbitmq import RabbitMQ
from .redis_streams import RedisStreams

CONTENDERS: dict[str, Contender] = {
    "nolag": NoLag(),
    "nolag_compiled": NoLag("langgraph-nolag, its broker compiled", compiled=True),
    "nats": Nats("NATS JetStream, default", "fsync every 2 minutes", None),
    "nats_sync": Nats("NATS JetStream, sync always", "fsync before every acknowledgement", "always"),
    "redis": RedisStreams("Redis Streams, everysec", "everysec", pipelined=False),
    "redis_always": RedisStreams("Redis Streams, always, pipelined", "always", pipelined=True),
    "rabbitmq": RabbitMQ(),
    "celery": Celery(),
}

TOOL_CALLS: dict[str, Contender] = {
    "tool": NoLagTool("langgraph-nolag, by name", proxy=False),
    "proxy": NoLagTool("langgraph-nolag, as a LangChain tool", proxy=True),
    "mcp": Mcp(),
    "mcp_adapters": McpAdapters(),
}

ALL = {**CONTENDERS, **TOOL_CALLS}
