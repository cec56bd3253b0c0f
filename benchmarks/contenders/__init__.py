"""All contenders, in the order of the table; the first is the one the others are compared with."""

from __future__ import annotations

from .base import Contender
from .celery_redis import Celery
from .nats_jetstream import Nats
from .nolag import NoLag

CONTENDERS: dict[str, Contender] = {
    "nolag": NoLag(),
    "nats": Nats("NATS JetStream, default", "fsync every 2 minutes", None),
    "nats_sync": Nats("NATS JetStream, sync always", "fsync before every acknowledgement", "always"),
    "celery": Celery(),
}
