"""Requests that are applied once although they may come again: which they are, and how many answers the broker keeps for that."""

from __future__ import annotations

from typing import Final

APPLIED_ONCE: Final = frozenset(
    {
        *("event.emit", "topic.publish", "inbox.send", "blackboard.set", "blackboard.delete", "record.write", "store.write"),
        *("task.fail", "task.release", "task.tell", "task.forget", "task.purge", "task.retry", "schedule.delete"),
        *("approval.delegate", "approval.withdraw", "stream.open"),
    }
)
"""Operations whose answers are kept. The others are the same however often they come."""
ANSWERS: Final = 512
"""Answers kept of one process in one room, beyond the oldest request of which it has none."""
