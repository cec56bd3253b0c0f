"""Directed messages."""

from __future__ import annotations

from typing import Any

import msgpack

from nolag_broker.core.limits import Limits


def send(agent: Any, to: str = "editor", body: bytes = b"hello", **fields: Any) -> int:
    seq: int = agent.ask("inbox.send", to=to, body=body, **fields)["seq"]
    return seq


def reader(driver: Any, actor: str = "editor", instance: str | None = None) -> Any:
    agent = driver.agent(actor, instance=instance)
    agent.ask("room.join")
    agent.ask("inbox.open")
    return agent


def opened(agent: Any, **fields: Any) -> list[bytes]:
    agent.ask("room.join")
    page = agent.ask("inbox.open", **fields)
    assert not page["more"]
    return [message["body"] for message in page["messages"]]


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
    assert opened(driver.agent("editor")) == [b"kept 1", b"kept 2"]


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
    assert opened(editor) == [b"1", b"3", b"4"]
    editor.ask("inbox.ack", messages=list(range(20)))
    assert not [key for key in driver.heads if key.startswith("inbox/")]


def test_unread_messages_come_in_pages_and_only_then_new_ones(driver: Any, planner: Any) -> None:
    """So that a reader is sent no more than it takes."""
    sent = [send(planner, body=b"%2d" % number + bytes(200_000), keep=True) for number in range(13)]
    driver.restart()
    editor = driver.agent("editor")
    editor.ask("room.join")
    pages = [editor.ask("inbox.open")]
    sent.append(send(driver.agent("planner"), body=b"13", keep=True))
    while pages[-1]["more"]:
        assert editor.pushes() == []
        pages.append(editor.ask("inbox.open", after=pages[-1]["messages"][-1]["seq"]))
    assert [len(page["messages"]) for page in pages] == [6, 6, 2]
    assert [message["seq"] for page in pages for message in page["messages"]] == sent
    send(driver.agent("planner"), body=b"live")
    assert bodies(editor) == [b"live"]


def test_messages_whose_size_was_not_written_down_come_a_few_at_a_time(driver: Any, planner: Any) -> None:
    for number in range(12):
        send(planner, body=b"%d" % number, keep=True)
    for key in [key for key in driver.heads if key.startswith("inbox/")]:
        driver.heads[key] = msgpack.packb(msgpack.unpackb(driver.heads[key])[:6])
    driver.restart()
    editor = driver.agent("editor")
    editor.ask("room.join")
    page = editor.ask("inbox.open")
    assert (len(page["messages"]), page["more"]) == (4, True)


def test_what_a_reader_has_does_not_come_again_but_of_a_log_that_began_anew(driver: Any, planner: Any) -> None:
    first, *_ = [send(planner, body=body, keep=True) for body in (b"1", b"2")]
    editor = driver.agent("editor")
    assert opened(editor, after=first, epoch="epoch") == [b"2"]
    assert opened(editor, after=first, epoch="another") == [b"1", b"2"]


def test_what_was_read_of_a_lost_log_acknowledges_nothing(driver: Any, planner: Any) -> None:
    seq = send(planner, keep=True)
    editor = driver.agent("editor")
    assert opened(editor) == [b"hello"]
    editor.say("inbox.ack", messages=[seq], epoch="another")
    assert opened(editor) == [b"hello"]
    editor.say("inbox.ack", messages=[seq], epoch="epoch")
    assert opened(editor) == []


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
    assert opened(editor) == [b"hello"]


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
