"""Directed messages."""

from __future__ import annotations

from typing import Any

from nolag_broker.core.limits import Limits


def send(agent: Any, to: str = "editor", body: bytes = b"hello", **fields: Any) -> int:
    seq: int = agent.ask("inbox.send", to=to, body=body, **fields)["seq"]
    return seq


def reader(driver: Any, actor: str = "editor", instance: str | None = None) -> Any:
    agent = driver.agent(actor, instance=instance)
    agent.ask("room.join")
    agent.ask("inbox.open")
    return agent


def bodies(agent: Any) -> list[bytes]:
    return [message["body"] for push in agent.pushes("inbox") for message in push["messages"]]


def test_a_message_reaches_an_open_inbox(driver: Any, planner: Any) -> None:
    editor = reader(driver)
    seq = send(planner, ct="text", parent=1, mid="m1")
    assert editor.push("inbox")["messages"] == [
        {"seq": seq, "sender": "planner", "time": driver.wall, "body": b"hello", "ct": "text", "parent": 1}
    ]
    assert (driver.log[-1].id, driver.log[-1].data) == ("m1", {"message": seq, "keep": False})


def test_absent_peers_are_named_unless_the_message_is_kept(driver: Any, planner: Any, refused: Any) -> None:
    with refused("peer_not_found"):
        send(planner)
    send(planner, body=b"kept 1", keep=True)
    send(planner, body=b"kept 2", keep=True)
    driver.restart()
    editor = reader(driver)
    assert bodies(editor) == [b"kept 1", b"kept 2"]


def test_unread_messages_come_again_until_they_are_acknowledged(driver: Any, planner: Any) -> None:
    editor = reader(driver)
    seqs = [send(planner, body=body) for body in (b"1", b"2", b"3")]
    assert bodies(editor) == [b"1", b"2", b"3"]
    editor.say("inbox.ack", messages=[seqs[1], seqs[1], 999])
    assert driver.log[-1].data == {"messages": [seqs[1]]}
    editor.disconnect()
    send(planner, body=b"4")
    driver.restart()
    editor.connect()
    editor.ask("room.join")
    editor.ask("inbox.open")
    assert bodies(editor) == [b"1", b"3", b"4"]
    editor.ask("inbox.ack", messages=list(range(20)))
    assert not [key for key in driver.heads if key.startswith("inbox/")]


def test_many_unread_messages_come_in_pieces(driver: Any, planner: Any) -> None:
    for number in range(250):
        send(planner, body=b"%d" % number, keep=True)
    pushes = reader(driver).pushes("inbox")
    assert [len(push["messages"]) for push in pushes] == [4] * 62 + [2]
    assert pushes[-1]["messages"][-1]["body"] == b"249"


def test_an_actor_that_processes_share_is_ambiguous(driver: Any, planner: Any, refused: Any) -> None:
    first = reader(driver, instance="1")
    second = driver.agent("editor", instance="2")
    second.ask("room.join")
    with refused("actor_ambiguous"):
        send(planner)
    with refused("actor_ambiguous"):
        second.ask("inbox.open")
    first.disconnect()
    second.ask("inbox.open")
    send(planner)
    assert bodies(second) == [b"hello"], "only one of them is online"


def test_a_member_that_did_not_open_its_inbox_finds_it_later(driver: Any, planner: Any) -> None:
    editor = driver.agent("editor")
    editor.ask("room.join")
    send(planner)
    assert editor.pushes() == []
    editor.ask("inbox.open")
    assert bodies(editor) == [b"hello"]


def test_the_same_key_is_sent_once(driver: Any, planner: Any, refused: Any) -> None:
    editor = reader(driver)
    seq = send(planner, key="k")
    driver.restart()
    assert send(driver.agent("other"), key="k") == seq
    with refused("key_conflict"):
        send(planner, body=b"another", key="k")
    with refused("key_conflict"):
        send(planner, to="someone", key="k", keep=True)
    assert bodies(editor) == [b"hello"]


def test_an_inbox_is_bounded(make_driver: Any, refused: Any) -> None:
    planner = make_driver(Limits(unread=2)).agent("planner")
    send(planner, keep=True)
    send(planner, keep=True)
    with refused("overloaded"):
        send(planner, keep=True)
    send(planner, to="other", keep=True)


def test_grants(driver: Any, refused: Any) -> None:
    reader(driver)
    sender = driver.agent("sender", [{"room": "room", "topics": ["inbox/other"], "verbs": ["publish"]}])
    with refused("not_authorized") as caught:
        send(sender)
    assert "'publish' on 'inbox/editor'" in caught.value.message
    send(sender, to="other", keep=True)
