"""Who is here: joining, changing, leaving, and leases."""

from __future__ import annotations

from typing import Any

from nolag_broker.core.limits import Limits


def members(agent: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.ask("presence.list")["members"]
    return found


def test_the_first_to_join_opens_the_room(driver: Any) -> None:
    ana, ben = driver.agent("ana"), driver.agent("ben")
    assert ana.ask("room.join", capabilities=["draft", "a"], max_concurrency=5, metadata={"kind": "agent"}) == {"opened": True}
    assert ben.ask("room.join") == {"opened": False}
    assert driver.types() == ["room.opened", "presence.joined", "presence.joined"]
    assert driver.log[1].data == {
        "instance": "ana-1",
        "capabilities": ["a", "draft"],
        "max_concurrency": 5,
        "status": "available",
        "metadata": {"kind": "agent"},
    }


def test_a_room_is_opened_by_whatever_comes_first(driver: Any, planner: Any) -> None:
    planner.dispatch()
    assert driver.types() == ["room.opened", "task.dispatched"]


def test_what_others_see(driver: Any, planner: Any) -> None:
    writer = driver.worker("writer", "draft", slots=3)
    planner.dispatch("a")
    planner.dispatch("b")
    driver.advance(2)
    writer.heartbeat()
    driver.advance(1)
    (member,) = members(planner)
    assert member == {
        "actor": "writer",
        "instance": "writer-1",
        "capabilities": [],
        "max_concurrency": 1,
        "load": 2,
        "status": "available",
        "metadata": {},
        "joined_at": driver.wall - 3,
        "last_heartbeat": driver.wall - 1,
        "online": True,
    }


def test_updates_change_only_what_they_name(driver: Any) -> None:
    ana = driver.agent("ana")
    ana.ask("room.join", capabilities=["draft"], metadata={"a": 1})
    ana.ask("presence.update", status="busy")
    (member,) = members(ana)
    assert (member["status"], member["capabilities"], member["metadata"]) == ("busy", ["draft"], {"a": 1})
    before = len(driver.log)
    ana.ask("presence.update", status="busy")
    assert len(driver.log) == before, "no change, no event"
    assert driver.log[-1].data["metadata"] == {"a": 1}


def test_joining_again_is_no_event_unless_something_changed(driver: Any) -> None:
    ana = driver.agent("ana")
    ana.ask("room.join", capabilities=["draft"])
    ana.disconnect()
    assert members(driver.agent("ben"))[0]["online"] is False
    ana.connect()
    ana.ask("room.join", capabilities=["draft"])
    assert driver.types() == ["room.opened", "presence.joined"]
    assert members(ana)[0]["online"] is True
    ana.ask("room.join", capabilities=["review"])
    assert driver.types()[2:] == ["presence.updated"]


def test_a_silent_member_leaves(driver: Any) -> None:
    ana, ben = driver.agent("ana"), driver.agent("ben")
    ana.ask("room.join")
    ben.ask("room.join")
    driver.advance(10.1, ben)
    assert [member["actor"] for member in members(ben)] == ["ben"]
    left = driver.log[-1]
    assert (left.type, left.subject, left.sender, left.data) == (
        "presence.left",
        "ana",
        "@broker",
        {"instance": "ana-1", "reason": "lease_expired"},
    )
    assert ana.push("expired") == {"push": "expired", "room": "room"}


def test_a_lease_is_judged_by_what_was_heard(driver: Any) -> None:
    """The room is late: up to a while ago it knows who has spoken, and not since."""
    ana, ben, cleo = (driver.agent(name) for name in ("ana", "ben", "cleo"))
    for agent in (ana, ben, cleo):
        agent.ask("room.join")
    driver.advance(1)
    ben.heartbeat()
    driver.advance(1)
    cleo.heartbeat()
    began = driver.now - 2
    driver.oversleep(20)
    driver.room.tick(driver.env, heard=began + 10.5)
    driver.flush()
    assert [member["actor"] for member in members(cleo)] == ["ben", "cleo"]
    assert driver.room.next_deadline() < driver.now
    cleo.heartbeat()
    driver.room.tick(driver.env)
    driver.flush()
    assert [member["actor"] for member in members(cleo)] == ["cleo"]


def test_many_leases_are_few_awakenings(driver: Any) -> None:
    agents = [driver.agent(f"agent-{number}") for number in range(20)]
    for agent in agents:
        agent.ask("room.join")
        driver.advance(0.04)
    for agent in agents:
        agent.heartbeat()
    awakenings, end = 0, driver.now + 10
    while (deadline := driver.room.next_deadline()) <= end:
        driver.now = deadline
        driver.room.tick(driver.env)
        awakenings += 1
        for agent in agents:
            agent.heartbeat()
    assert awakenings <= 3
    assert len(members(agents[0])) == len(agents)


def test_who_left_has_to_join_again(driver: Any, refused: Any) -> None:
    ana = driver.agent("ana")
    ana.ask("room.join")
    driver.advance(11)
    for op in ("presence.update", "inbox.open"):
        with refused("not_joined"):
            ana.ask(op)
    ana.ask("room.join")
    ana.ask("inbox.open")


def test_leaving_is_said_with_its_reason(driver: Any) -> None:
    ana = driver.agent("ana")
    ana.ask("room.join")
    ana.ask("room.leave")
    assert driver.log[-1].data == {"instance": "ana-1", "reason": "left"}
    assert ana.ask("room.leave") == {}
    assert driver.types().count("presence.left") == 1
    driver.advance(20)
    assert driver.types().count("presence.left") == 1


def test_members_are_away_after_a_restart_with_a_full_lease(driver: Any) -> None:
    ana = driver.agent("ana")
    ana.ask("room.join", capabilities=["draft"])
    driver.advance(9)
    driver.restart()
    ben = driver.agent("ben")
    assert [(member["actor"], member["online"]) for member in members(ben)] == [("ana", False)]
    driver.advance(9.9)
    assert len(members(ben)) == 1
    driver.advance(0.2)
    assert members(ben) == []


def test_two_processes_of_an_actor_are_two_members(driver: Any) -> None:
    first, second = driver.agent("ana", instance="1"), driver.agent("ana", instance="2")
    first.ask("room.join")
    second.ask("room.join")
    assert [member["instance"] for member in members(first)] == ["1", "2"]
    first.ask("room.leave")
    assert [member["instance"] for member in members(second)] == ["2"]


def test_a_token_without_a_grant_for_the_room_sees_nothing(driver: Any, refused: Any) -> None:
    stranger = driver.agent("stranger", [{"room": "other"}])
    for op in ("room.join", "presence.list", "room.info"):
        with refused("not_authorized"):
            stranger.ask(op)
    assert driver.log == []


def test_the_number_of_members_is_bounded(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(members=1))
    driver.agent("ana").ask("room.join")
    with refused("overloaded"):
        driver.agent("ben").ask("room.join")
    driver.agent("ana").ask("room.join")


def test_info(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    info = planner.ask("room.info")
    assert (info["name"], info["epoch"], info["seq"], info["members"], info["approvals"]) == ("room", "epoch", 4, 1, 0)


def test_nothing_is_left_of_connections_that_are_gone(driver: Any, planner: Any, writer: Any) -> None:
    planner.dispatch()
    planner.ask("approval.request", approval="a", action="publish", body=b"", allow=["approve"])
    for agent in (planner, writer):
        agent.disconnect()
        agent.disconnect()
    room = driver.room
    assert room.members._sessions == {}
    assert room.tasks.by_id["t1"].live.followers == {}
    assert room.tasks.market._profiles == {}
    assert room.tasks.market._free == {}
