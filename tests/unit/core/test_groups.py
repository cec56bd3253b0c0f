"""What a room keeps of a consumer group: how far the log was read for it, and what is not acknowledged. Dealing is the server's."""

from __future__ import annotations

from typing import Any

import pytest

from nolag_broker.core.limits import Limits
from nolag_broker.core.messages.groups import MOST_AHEAD, Group
from nolag_broker.core.turn import Acknowledged

ID = ("readers", "topic.published", "notes")


@pytest.fixture
def group(driver: Any, planner: Any) -> Group:
    for _ in range(9):
        planner.ask("topic.publish", topic="notes", body=b"n")
    group: Group = driver.room.groups.begin(ID, 3)
    driver.flush()
    return group


def ack(agent: Any, *messages: int, **fields: Any) -> int:
    fields = {"group": "readers", "types": "topic.published", "subject": "notes", **fields}
    acknowledged: int = agent.ask("group.ack", messages=list(messages), **fields)["acknowledged"]
    return acknowledged


def test_it_is_read_on_and_acknowledged(driver: Any, planner: Any, group: Group) -> None:
    assert [group.meets(seq) for seq in (3, 4, 5, 6, 6)] == [False, True, True, True, False]
    assert ack(planner, 5) == 1
    assert [effect for effect in driver.effects if isinstance(effect, Acknowledged)] == [Acknowledged(ID, [5])]
    assert ack(planner, 5, 2) == 0, "once, and nothing from before its beginning"
    assert not any(isinstance(effect, Acknowledged) for effect in driver.effects)
    driver.restart()
    again = driver.room.groups.get(ID)
    assert (again.through, again.open, again.ahead) == (6, {4, 6}, set())
    assert driver.room.groups.begin(ID, 0) is again, "it goes on from where it was"


def test_the_row_lags_and_acknowledgements_run_ahead_of_it(driver: Any, planner: Any, group: Group) -> None:
    for seq in range(4, 9):
        group.meets(seq)
    driver.restart()
    again = driver.room.groups.get(ID)
    assert (again.through, again.open) == (3, set()), "it was not written since"
    assert ack(planner, 5, 7, 1000) == 2, "as far as there is a log"
    driver.restart()
    again = driver.room.groups.get(ID)
    assert [seq for seq in range(4, 9) if again.meets(seq)] == [4, 6, 8]
    assert (again.open, again.ahead) == ({4, 6, 8}, set())


def test_a_group_is_its_name_and_its_patterns(driver: Any, planner: Any, group: Group) -> None:
    group.meets(4)
    assert ack(planner, 4, subject="other") == 0
    assert ack(planner, 4, group="others") == 0
    assert driver.room.groups.begin(("readers", "topic.published", "other"), 0) is not group


def test_grants_and_bounds(driver: Any, make_driver: Any, group: Group, refused: Any) -> None:
    group.meets(4)
    with refused("not_authorized"):
        ack(driver.agent("eve", [{"room": "room", "topics": ["notes", "cursor/**"], "verbs": ["subscribe"]}]), 4)
    assert ack(driver.agent("ana", [{"room": "room", "topics": ["group/readers"], "verbs": ["subscribe"]}]), 4) == 1
    small = make_driver(Limits(groups=1))
    small.room.groups.begin(ID, 0)
    with refused("overloaded"):
        small.room.groups.begin(("others", "**", "**"), 0)
    far = Group(ID, 0)
    assert [far.acknowledge(seq, 10 * MOST_AHEAD) for seq in range(1, MOST_AHEAD + 2)] == [True] * MOST_AHEAD + [False]


def test_deleted_it_begins_anew(driver: Any, planner: Any, group: Group) -> None:
    driver.room.groups.delete(ID)
    driver.room.groups.delete(ID)
    driver.flush()
    assert not any(key.startswith("group/") for key in driver.heads)
    driver.restart()
    assert driver.room.groups.get(ID) is None
    assert ack(planner, 4) == 0


def test_what_was_dealt_of_a_lost_log_acknowledges_nothing(planner: Any, group: Group) -> None:
    group.meets(4)
    assert ack(planner, 4, 5, epoch="another") == 0
    assert (group.open, group.ahead) == ({4}, set())
    assert ack(planner, 4, 5, epoch="epoch") == 2
