"""Tools: registered by those who serve them, found by those who call them."""

from __future__ import annotations

from typing import Any

from nolag_broker.core.event import Event


def call(agent: Any, task: str = "call", tool: str = "search", **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = agent.dispatch(task, tool, kind="tool", require_live=True, max_attempts=1, **fields)
    return answer


def test_registered_tools_are_listed_with_their_descriptions(driver: Any, planner: Any) -> None:
    driver.worker("a", "search", "lookup", kind="tool", specs={"search": b"describes search"})
    driver.worker("b", "search", kind="tool", specs={"search": b"describes it better"})
    assert planner.ask("tool.list")["tools"] == [
        {"name": "lookup", "spec": None, "servers": 1},
        {"name": "search", "spec": b"describes it better", "servers": 2},
    ]


def test_a_call_that_nobody_serves_is_refused_at_once(driver: Any, planner: Any, refused: Any) -> None:
    with refused("tool_not_found"):
        call(planner)
    driver.worker("agent", "search")
    with refused("tool_not_found"):  # serves handoffs of that name, not the tool
        call(planner)


def test_calls_go_to_the_servers(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    assert call(planner)["state"] == "running"
    server.complete(server.push("task"), b"found")
    assert planner.push("result")["body"] == b"found"


def test_calls_end_when_the_last_server_leaves(driver: Any, planner: Any) -> None:
    servers = [driver.worker(name, "search", kind="tool") for name in ("a", "b")]
    for number in range(3):
        call(planner, f"call-{number}")
    servers[0].ask("room.leave")
    assert planner.pushes() == []
    servers[1].ask("task.unserve", offer=1)
    waiting = planner.pushes("result")
    assert {push["task"] for push in waiting} < {"call-0", "call-1", "call-2"}
    assert {push["error"]["type"] for push in waiting} == {"tool_not_found"}
    (held,) = servers[1].pushes("task")
    servers[1].complete(held)


def test_a_call_handed_back_with_no_server_left_ends_too(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    call(planner)
    task = server.push("task")
    server.ask("task.unserve", offer=1)
    server.ask("task.release", task="call", token=task["token"])
    assert planner.push("result")["error"]["type"] == "tool_not_found"


def test_a_call_on_a_lost_server_fails(driver: Any, planner: Any) -> None:
    driver.worker("server", "search", kind="tool")
    call(planner)
    driver.advance(11)
    assert planner.push("result")["error"]["type"] == "lease_expired"
    assert planner.ask("tool.list") == {"tools": []}
    assert driver.types()[-3:] == ["task.failed", "tool.unregistered", "presence.left"]


def test_registrations_outlast_a_broken_connection_and_a_restart(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "search", kind="tool", specs={"search": b"spec"})
    server.disconnect()
    driver.restart()
    assert planner.ask("tool.list")["tools"] == [{"name": "search", "spec": b"spec", "servers": 1}]
    assert call(planner)["state"] == "waiting", "it is expected back"
    server.connect()
    server.ask("room.join")
    before = len(driver.log)
    server.serve("search", kind="tool", specs={"search": b"spec"})
    assert driver.types(before) == ["task.claimed"], "the same tool again is no event"
    assert server.push("task")["task"] == "call"


def test_a_server_that_does_not_return_fails_the_calls_that_waited_for_it(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    server.disconnect()
    call(planner)
    driver.advance(4)
    assert planner.push("result")["error"]["type"] == "tool_not_found"


def test_serving_other_tools_replaces_the_former_ones_of_the_offer(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "a", "b", kind="tool")
    server.serve("b", "c", kind="tool")
    server.serve("other", offer=2, kind="tool")
    assert [tool["name"] for tool in planner.ask("tool.list")["tools"]] == ["b", "c", "other"]
    server.serve("b", "c", kind="tool", specs={"b": b"now with a description"})
    assert driver.types()[-1] == "tool.registered"
    server.ask("task.unserve", offer=1)
    assert [tool["name"] for tool in planner.ask("tool.list")["tools"]] == ["other"]


def test_only_what_the_grants_cover_is_listed(driver: Any) -> None:
    driver.worker("server", "search", "secret", kind="tool")
    reader = driver.agent("reader", [{"room": "room", "topics": ["search"], "verbs": ["tools"]}])
    assert [tool["name"] for tool in reader.ask("tool.list")["tools"]] == ["search"]


def test_bad_offers_of_tools(driver: Any, refused: Any) -> None:
    agent = driver.agent("agent")
    agent.ask("room.join")
    with refused("bad_request"):
        agent.serve(kind="tool")
    with refused("bad_request"):
        agent.serve("a", kind="tool", specs={"b": b""})
    with refused("bad_request"):
        agent.dispatch(require_live=True)


def names(agent: Any) -> list[str]:
    return [tool["name"] for tool in agent.ask("tool.list")["tools"]]


def test_a_tool_is_served_until_the_last_of_its_offers_ends(driver: Any, planner: Any, refused: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    server.serve("search", offer=2, kind="tool")
    assert planner.ask("tool.list")["tools"] == [{"name": "search", "spec": None, "servers": 1}]
    server.ask("task.unserve", offer=2)
    driver.restart()
    assert names(planner) == ["search"]
    server.connect()
    server.ask("room.join")
    server.serve("search", kind="tool")
    assert call(planner)["state"] == "running"
    server.ask("task.unserve", offer=1)
    assert names(planner) == []
    with refused("tool_not_found"):
        call(planner, "late")


def test_an_offer_that_becomes_one_of_another_kind_serves_its_tools_no_more(driver: Any, planner: Any, refused: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    call(planner, "held")
    call(planner, "waiting")
    server.serve()
    assert {push["task"] for push in planner.pushes("result")} == {"held", "waiting"}
    assert names(planner) == []
    with refused("tool_not_found"):
        call(planner)


def test_a_server_that_comes_back_has_a_lease_to_serve_again(driver: Any, planner: Any, refused: Any) -> None:
    server = driver.worker("server", "search", "lookup", kind="tool")
    server.disconnect()
    server.connect()
    server.ask("room.join")
    call(planner, "kept", tool="search")
    call(planner, "dropped", tool="lookup")
    driver.advance(driver.limits.lease - 1, server)
    assert names(planner) == ["lookup", "search"]
    server.serve("search", offer=7, kind="tool")
    assert server.push("task")["task"] == "kept"
    driver.advance(2, server)
    assert names(planner) == ["search"]
    assert planner.push("result")["task"] == "dropped"
    with refused("tool_not_found"):
        call(planner, tool="lookup")


def test_a_second_break_does_not_shorten_the_time_to_serve_again(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "search", kind="tool")
    for _ in range(2):
        server.disconnect()
        server.connect()
        server.ask("room.join")
        driver.advance(driver.limits.lease - 1, server)
    assert names(planner) == ["search"]
    driver.advance(2, server)
    assert names(planner) == []


def test_logs_whose_unregistered_tools_name_no_offer_are_read(driver: Any, planner: Any) -> None:
    server = driver.worker("server", "search", "lookup", kind="tool")
    data = {"actor": "server", "instance": server.caller.instance}
    driver.room.apply(Event(len(driver.log) + 1, "tool.unregistered", driver.wall, "server", data, "search"))
    assert names(planner) == ["lookup"]
