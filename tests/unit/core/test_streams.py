"""Streams: numbered chunks, live and then in the log; taken over with a rewind; ended for sure."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgpack
import pytest

from nolag_broker.core.limits import Limits
from nolag_broker.core.streams.reading import PAGE
from nolag_broker.wire.grants import Grants


class Reader:
    """Reads one stream as a client does: page after page, then live, and from where it was after a reconnect."""

    def __init__(self, agent: Any, stream: str = "s1", sub: int = 1) -> None:
        self.agent = agent
        self.stream = stream
        self.sub = sub
        self.token = 0
        self.chunks: list[bytes] = []
        self.gaps: list[list[int]] = []
        self.rewinds: list[int] = []
        self.end: dict[str, Any] | None = None

    def follow(self) -> Reader:
        more = True
        while more:
            answer = self.agent.ask("stream.follow", stream=self.stream, sub=self.sub, after=len(self.chunks), token=self.token)
            more = answer["more"]
            self.take(answer)
        return self

    def look(self) -> list[bytes]:
        """The chunks so far."""
        for push in self.agent.pushes("stream"):
            assert push["sub"] == self.sub
            self.take(push)
        return self.chunks

    def take(self, frame: dict[str, Any]) -> None:
        self.token = frame["token"]
        if (kept := frame.get("rewind")) is not None:
            self.rewinds.append(kept)
            del self.chunks[kept:]
        if (gap := frame.get("gap")) is not None:
            self.gaps.append(gap)
            self.chunks.extend([b"?"] * (gap[1] - gap[0] + 1))
        for first, last, body in frame.get("pieces", [[frame["first"], frame["last"], frame["body"]]] if "body" in frame else []):
            assert first <= len(self.chunks) + 1, "a hole"
            self.chunks.extend(msgpack.unpackb(body)[len(self.chunks) + 1 - first : last + 1 - first])
        self.end = frame.get("end", self.end)


class Writer:
    """Writes one stream as a client does: what is not kept is sent again."""

    def __init__(self, agent: Any, stream: str = "s1", **fields: Any) -> None:
        self.agent = agent
        self.stream = stream
        if "topic" not in fields:
            fields.setdefault("to", "editor")
        opened = agent.ask("stream.open", stream=stream, **fields)
        self.token, self.n = opened["token"], opened["n"]

    def write(self, *chunks: bytes, n: int | None = None) -> dict[str, Any]:
        first = self.n + 1 if n is None else n
        answer: dict[str, Any] = self.agent.ask("stream.write", stream=self.stream, token=self.token, n=first, chunks=list(chunks))
        self.n = max(self.n, first + len(chunks) - 1)
        return answer

    def close(self, **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.agent.ask("stream.close", stream=self.stream, token=self.token, n=self.n, **fields)
        return answer


@pytest.fixture
def poet(driver: Any) -> Any:
    agent = driver.agent("poet")
    agent.ask("room.join")
    return agent


@pytest.fixture
def editor(driver: Any) -> Any:
    return driver.agent("editor")


def members(driver: Any, *names: str) -> list[Any]:
    agents = [driver.agent(name) for name in names]
    for agent in agents:
        agent.ask("room.join")
    return agents


# -- chunks, live and rolled up


def test_chunks_go_to_the_reader_at_once_and_to_the_log_later(driver: Any, poet: Any, editor: Any) -> None:
    writer = Writer(poet)
    reader = Reader(editor).follow()
    assert writer.write(b"a", b"b") == {"n": 2, "kept": 0}
    assert reader.look() == [b"a", b"b"]
    assert driver.types()[-1] == "stream.opened"
    driver.advance(0.9, poet)
    writer.write(b"c")
    assert not poet.pushes()
    driver.advance(0.2)
    rolled = driver.log[-1]
    assert (rolled.type, rolled.subject, rolled.sender) == ("stream.rolled", "inbox/editor", "@broker")
    assert (rolled.data, rolled.body) == ({"stream": "s1", "first": 1, "last": 3, "writer": "poet"}, msgpack.packb([b"a", b"b", b"c"]))
    assert poet.push("kept") == {"push": "kept", "room": "room", "stream": "s1", "token": writer.token, "n": 3}
    driver.advance(5, poet)
    assert driver.log[-1] is rolled  # nothing new, nothing rolled
    assert reader.look() == [b"a", b"b", b"c"]


def test_many_tokens_are_few_rows(driver: Any, poet: Any, editor: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    for n in range(10_000):
        writer.write(b"token %d" % n)
        if n % 100 == 0:
            driver.advance(0.5)
            poet.heartbeat()
    assert writer.close() == {"closed": True, "n": 10_000}
    assert reader.look() == [b"token %d" % n for n in range(10_000)] == Reader(editor, sub=2).follow().chunks
    assert driver.types().count("stream.rolled") < 60
    assert len(driver.log) < 65


def test_a_large_buffer_is_rolled_up_at_once_and_all_buffers_together_are_bounded(make_driver: Any) -> None:
    driver = make_driver(Limits(roll_bytes=100, stream_buffers=150))
    (poet,) = members(driver, "poet")
    first, second = Writer(poet, "s1"), Writer(poet, "s2")
    assert first.write(b"x" * 90)["kept"] == 0
    assert first.write(b"x" * 10) == {"n": 2, "kept": 2}
    assert first.write(b"x" * 80)["kept"] == 2
    assert second.write(b"x" * 80) == {"n": 1, "kept": 1}
    assert second.write(b"x" * 50) == {"n": 2, "kept": 1}  # there is room again
    assert second.write(*[b""] * 40)["kept"] == 42


def test_chunks_that_come_again_count_once_and_a_hole_is_not_taken(poet: Any, editor: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    writer.write(b"a", b"b")
    assert writer.write(b"a", b"b", b"c", n=1)["n"] == 3
    assert writer.write(b"e", n=5)["n"] == 3
    assert writer.write(n=1)["n"] == 3
    assert reader.look() == [b"a", b"b", b"c"]


def test_a_late_reader_gets_all_in_pages_then_goes_on_live(driver: Any, poet: Any, editor: Any) -> None:
    chunks = [b"%02d" % n + bytes(PAGE // 25) for n in range(30)]
    writer = Writer(poet)
    for chunk in chunks:
        writer.write(chunk, b"--")
        driver.advance(0.4)
        poet.heartbeat()
    first = editor.ask("stream.follow", stream="s1", sub=9)
    assert first["more"]
    assert len(first["pieces"]) < 30
    reader = Reader(editor).follow()
    writer.write(b"live")
    assert len(reader.look()) == 61
    assert reader.chunks[::2] == [*chunks, b"live"]
    reader.chunks[50:] = []  # as of a reader that was evicted
    editor.disconnect()
    editor.connect()
    assert reader.follow().chunks[49::2] == [b"--"] * 6
    assert reader.chunks[50::2] == [*chunks[25:], b"live"]
    assert not reader.rewinds + reader.gaps


@pytest.mark.parametrize("bound", [{"stream_pieces": 3}, {"stream_bytes": 14}])
def test_the_oldest_of_a_very_long_stream_is_dropped_and_that_is_said(make_driver: Any, bound: dict[str, int]) -> None:
    driver = make_driver(Limits(roll_bytes=1, **bound))
    poet, editor = members(driver, "poet", "editor")
    writer = Writer(poet)
    for n in range(5):
        writer.write(b"%d" % n)
    reader = Reader(editor).follow()
    assert (reader.gaps, reader.chunks) == ([[1, 2]], [b"?", b"?", b"2", b"3", b"4"])
    Writer(poet, keep=1)  # of which nothing is left
    late = Reader(editor, sub=2).follow()
    assert (late.gaps, late.chunks) == ([[1, 1]], [b"?"])


def test_a_reader_may_stop(poet: Any, editor: Any, refused: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    with refused("subscription_conflict"):
        reader.follow()
    editor.ask("stream.unfollow", sub=1)
    editor.ask("stream.unfollow", sub=1)
    writer.write(b"a")
    assert reader.look() == []
    assert reader.follow().chunks == [b"a"]


# -- the end


@pytest.mark.parametrize("error", [None, {"type": "ValueError", "message": "no"}])
def test_a_writer_ends_its_stream(driver: Any, poet: Any, editor: Any, refused: Any, error: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    writer.write(b"a")
    assert writer.close(error=error) == {"closed": True, "n": 1}
    state = "closed" if error is None else "failed"
    assert driver.types()[-2:] == ["stream.rolled", f"stream.{state}"]
    end = {"state": state} if error is None else {"state": state, "error": error}
    assert (reader.look(), reader.end) == ([b"a"], end)
    driver.restart()
    for agent in (poet, editor):
        agent.connect()
        agent.ask("room.join")
    again = Reader(editor).follow()
    assert (again.chunks, again.end) == ([b"a"], end)
    assert writer.close(error=error) == {"closed": True, "n": 1}  # sent again
    for ask in (lambda: writer.write(b"b"), lambda: Writer(poet)):
        with refused("stream_ended") as caught:
            ask()
        assert caught.value.detail == end


def test_a_close_that_came_before_its_chunks_is_not_one(poet: Any) -> None:
    writer = Writer(poet)
    writer.write(b"a")
    writer.n = 3
    assert writer.close() == {"closed": False, "n": 1}
    writer.write(b"a", b"b", b"c", n=1)
    assert writer.close() == {"closed": True, "n": 3}


def test_a_stream_ends_with_its_writer(driver: Any, poet: Any, editor: Any, refused: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    writer.write(b"a")
    poet.disconnect()
    assert driver.types()[-1] == "stream.rolled"  # at once: it may be for long
    assert driver.log[-1].sender == "@broker"
    driver.advance(2)
    assert reader.look() == [b"a"]
    assert reader.end is None
    driver.advance(2)
    reader.look()
    assert reader.end == {"state": "aborted", "reason": "writer_gone"}
    poet.connect()
    poet.ask("room.join")
    with refused("stream_ended"):
        writer.write(b"b")
    assert Writer(poet, keep=None).n == 1  # but it may be taken up again


def test_leaving_the_room_ends_ones_streams(driver: Any, poet: Any, editor: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    writer.write(b"a")
    poet.ask("room.leave")
    assert reader.look() == [b"a"]
    assert reader.end == {"state": "aborted", "reason": "writer_gone"}


def test_those_that_ended_are_kept_for_a_time_and_within_bounds(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(keep=100, ended_streams=3, ended_stream_bytes=250))
    poet, editor = members(driver, "poet", "editor")

    def write(name: str, size: int = 1) -> None:
        writer = Writer(poet, name)
        writer.write(b"x" * size)
        writer.close()

    def known() -> set[str]:
        return {key for key in driver.heads if key.startswith("stream/")}

    for name in "abcd":
        write(name)
    assert known() == {"stream/b", "stream/c", "stream/d"}
    with refused("bad_request"):
        poet.ask("stream.ack", streams=["s1"], tokens=[1, 2])
    with refused("stream_not_found"):
        Reader(editor, "a").follow()
    write("e", 120)
    write("f", 120)
    assert known() == {"stream/d", "stream/e", "stream/f"}
    write("g", 300)
    assert known() == {"stream/g"}  # the last one in any case
    driver.advance(101, poet)
    write("h")
    assert known() == {"stream/h"}
    assert (
        sorted(seq for seq in driver.room.retention.living() if seq)
        == [event.seq for event in driver.log if event.type == "stream.rolled"][-1:]
    )


# -- when the broker dies


def test_after_a_crash_the_writer_sends_the_tail_again_and_readers_see_no_repeat(driver: Any, poet: Any, editor: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    writer.write(b"a", b"b")
    driver.advance(1)
    writer.write(b"c", b"d")
    assert reader.look() == [b"a", b"b", b"c", b"d"]
    driver.restart()
    for agent in (poet, editor):
        agent.connect()
    poet.ask("room.join")
    reader.follow()  # it has more than the broker
    assert writer.write(b"e") == {"n": 2, "kept": 2}
    assert writer.write(b"c", b"d", b"e", n=3) == {"n": 5, "kept": 2}
    assert reader.look() == [b"a", b"b", b"c", b"d", b"e"]
    assert (reader.rewinds, reader.gaps) == ([], [])


def test_after_a_crash_a_reader_is_ahead_of_a_stream_whose_writer_never_returns(driver: Any, poet: Any, editor: Any) -> None:
    writer, reader, absent = Writer(poet), Reader(editor).follow(), Reader(editor, sub=2).follow()
    writer.write(b"a")
    driver.advance(1)
    writer.write(b"b")
    for each in (reader, absent):
        each.chunks[:] = [b"a", b"b"]
    editor.pushes()
    driver.restart()
    editor.connect()
    reader.follow()
    driver.advance(30)
    assert reader.look() == [b"a"]
    assert (reader.rewinds, reader.end) == ([1], {"state": "aborted", "reason": "writer_gone"})
    absent.follow()
    assert (absent.chunks, absent.rewinds, absent.end) == ([b"a"], [1], reader.end)


# -- taking over


def test_another_process_of_the_writer_takes_over_and_readers_are_told_to_rewind(driver: Any, poet: Any, editor: Any, refused: Any) -> None:
    writer, reader, absent = Writer(poet), Reader(editor).follow(), Reader(driver.agent("editor")).follow()
    writer.write(b"a", b"b", b"c")
    absent.look()
    absent.agent.disconnect()
    other = driver.agent("poet", instance="poet-2")
    other.ask("room.join")
    second = Writer(other, keep=2)
    assert second.n == 2
    second.write(b"C", b"D")
    assert reader.look() == [b"a", b"b", b"C", b"D"]
    assert reader.rewinds == [2]
    with refused("stale_lease"):
        writer.write(b"d")
    with refused("stale_lease"):
        writer.close()
    third = Writer(poet, keep=0)
    third.write(b"X")
    third = Writer(poet, keep=None)
    absent.agent.connect()
    assert absent.follow().chunks == [b"X"]
    assert absent.rewinds == [0]
    assert reader.look() == [b"X"]
    assert [event.data["kept"] for event in driver.log if event.type == "stream.opened"] == [0, 2, 0, 1]


def test_a_piece_is_cut_where_a_new_writer_goes_on(driver: Any, poet: Any, editor: Any) -> None:
    writer = Writer(poet)
    writer.write(*(b"%d" % n for n in range(10)))
    driver.advance(1)
    second = Writer(poet, keep=4)
    second.write(b"x")
    driver.restart()
    editor.connect()
    assert Reader(editor).follow().chunks == [b"0", b"1", b"2", b"3"]


def test_a_reader_of_long_ago_begins_again(driver: Any, poet: Any, editor: Any) -> None:
    writer, reader = Writer(poet), Reader(editor).follow()
    writer.write(b"a", b"b")
    reader.look()
    editor.disconnect()
    for _ in range(20):
        writer = Writer(poet, keep=None)
    driver.restart()
    editor.connect()
    assert reader.follow().chunks == [b"a", b"b"]
    assert reader.rewinds == [0]


def test_a_stream_belongs_to_its_actor_its_receiver_and_its_task(driver: Any, poet: Any, refused: Any) -> None:
    (other,) = members(driver, "other")
    Writer(poet)
    for agent, fields in (
        (other, {}),
        (poet, {"to": "somebody"}),
        (poet, {"topic": "t"}),
        (poet, {"ct": "text"}),
    ):
        with refused("key_conflict"):
            Writer(agent, **fields)


# -- under a task


def held(agent: Any) -> list[Any]:
    (task,) = [push for push in agent.pushes() if push["push"] == "task"]
    return [task["task"], task["token"]]


def test_a_stream_of_a_task_goes_on_with_whoever_holds_the_task(driver: Any, planner: Any, writer: Any, editor: Any, refused: Any) -> None:
    planner.dispatch()
    lease = held(writer)
    first, reader = Writer(writer, lease=lease), Reader(editor).follow()
    first.write(b"a", b"b")
    driver.advance(1.5)
    other = driver.worker("other", "draft")
    driver.advance(20, other)  # the writer fell silent
    second_lease = held(other)
    writer.connect()
    writer.ask("room.join")
    with refused("stale_lease"):
        first.write(b"c")  # before anybody took it over
    with refused("stale_lease"):
        Writer(writer, lease=lease)
    assert reader.look() == [b"a", b"b"]
    assert reader.end is None
    second = Writer(other, lease=second_lease, keep=1)
    second.write(b"B")
    with refused("stale_lease"):
        first.write(b"c")
    assert reader.look() == [b"a", b"B"]
    assert reader.rewinds == [1]
    second.close()
    other.ask("task.complete", task=second_lease[0], token=second_lease[1], body=b"")
    reader.look()
    assert reader.end == {"state": "closed"}


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
def test_a_stream_does_not_outlive_its_task(driver: Any, planner: Any, writer: Any, editor: Any, how: str) -> None:
    planner.dispatch()
    lease = held(writer)
    stream, reader = Writer(writer, lease=lease), Reader(editor).follow()
    stream.write(b"a")
    task = {"task": lease[0], "token": lease[1]}
    if how == "completed":
        writer.complete(task)
    elif how == "failed":
        writer.fail(task, retry=False)
    else:
        planner.ask("task.cancel", task="t1")
    assert reader.look() == [b"a"]
    assert reader.end == {"state": "aborted", "reason": f"task_{how}"}
    assert not driver.room.streams.of_task


def test_a_later_attempt_writes_anew_what_an_earlier_one_had_closed(planner: Any, writer: Any, editor: Any, refused: Any) -> None:
    planner.dispatch()
    lease = held(writer)
    stream = Writer(writer, lease=lease)
    stream.write(b"a")
    stream.close()
    with refused("stream_ended"):
        Writer(writer, lease=lease)
    writer.fail({"task": lease[0], "token": lease[1]}, delay=0)
    again = Writer(writer, lease=held(writer), keep=0)
    again.write(b"A")
    assert Reader(editor).follow().chunks == [b"A"]


def test_a_lease_must_be_held(planner: Any, writer: Any, poet: Any, refused: Any) -> None:
    planner.dispatch()
    task, token = held(writer)
    for agent, lease in ((writer, [task, token - 1]), (poet, [task, token]), (writer, ["t2", token])):
        with refused("stale_lease"):
            Writer(agent, lease=lease)


# -- who may


def test_a_directed_stream_is_for_its_receiver_alone(driver: Any, poet: Any, editor: Any, refused: Any) -> None:
    writer = Writer(poet)
    writer.write(b"secret")
    for reader in (editor, poet, driver.agent("root", [{"room": "**", "verbs": ["admin"]}])):
        assert Reader(reader).follow().chunks == [b"secret"]
    with refused("not_authorized"):
        Reader(driver.agent("other")).follow()
    assert driver.agent("other").ask("stream.list")["streams"] == []


def test_topics_need_grants_on_both_sides(driver: Any, refused: Any) -> None:
    def agent(name: str, verb: str) -> Any:
        agent = driver.agent(name, [{"room": "**", "topics": ["drafts/**"], "verbs": [verb]}])
        agent.ask("room.join")
        return agent

    writer, reader = agent("writer", "publish"), agent("reader", "subscribe")
    stream = Writer(writer, topic="drafts/1")
    stream.write(b"a")
    assert Reader(reader).follow().chunks == [b"a"]
    for refusing in (
        lambda: Writer(writer, "s2", topic="other"),
        lambda: Writer(writer, "s2", to="editor"),
        lambda: Writer(reader, "s2", topic="drafts/1"),
        lambda: Reader(writer).follow(),
    ):
        with refused("not_authorized"):
            refusing()
    assert [info["stream"] for info in reader.ask("stream.list", topics="drafts/*")["streams"]] == ["s1"]
    assert reader.ask("stream.list", topics="other")["streams"] == []
    assert writer.ask("stream.list", topics="**")["streams"] == []


def test_a_reader_whose_grants_shrink_is_told_and_gets_no_more(driver: Any, poet: Any) -> None:
    writer, agent = Writer(poet, topic="t"), driver.agent("reader")
    Reader(agent).follow()
    own = Writer(poet, "s2", to="reader")
    Reader(agent, "s2", sub=2).follow()
    agent.caller = dataclasses.replace(agent.caller, grants=Grants.parse([{"room": "room", "topics": ["u"]}]))
    driver.room.refreshed(agent.caller, driver.env)
    driver.flush()
    assert agent.push("stream")["err"]["code"] == "not_authorized"
    writer.write(b"a")
    own.write(b"b")
    assert [push["sub"] for push in agent.pushes("stream")] == [2]


def test_what_is_for_us_is_listed_until_it_was_read_to_the_end(driver: Any, poet: Any, editor: Any) -> None:
    first, second = Writer(poet, "s1"), Writer(poet, "s2", ct="text")
    first.close()

    def listed() -> list[str]:
        return [info["stream"] for info in editor.ask("stream.list")["streams"]]

    assert editor.ask("stream.list")["streams"][1] == {
        "stream": "s2",
        "seq": second.token,
        "subject": "inbox/editor",
        "writer": "poet",
        "state": "open",
        "token": second.token,
        "n": 0,
        "ct": "text",
    }
    poet.ask("stream.ack", streams=["s1"])
    assert listed() == ["s1", "s2"]
    editor.say("stream.ack", streams=["s1", "s1", "s2", "s9"])  # the second one goes on
    assert driver.log[-1].data == {"streams": ["s1"]}
    assert listed() == ["s2"]
    driver.restart()
    assert listed() == ["s2"]
    assert Reader(editor).follow().end == {"state": "closed"}  # it can still be read


def test_the_end_of_an_opening_that_was_taken_over_since_is_not_acknowledged(driver: Any) -> None:
    """Its reader heard of that end before it could hear of what came behind."""
    poet, editor = members(driver, "poet", "editor")
    first = Writer(poet)
    poet.ask("room.leave")
    poet.ask("room.join")
    again = Writer(poet)
    again.close()
    assert again.token > first.token
    for token, left in ((first.token, ["s1"]), (again.token, [])):
        editor.ask("stream.ack", streams=["s1"], tokens=[token])
        assert [info["stream"] for info in editor.ask("stream.list")["streams"]] == left


def test_what_is_refused(make_driver: Any, refused: Any) -> None:
    driver = make_driver(Limits(streams=1))
    (poet,) = members(driver, "poet")
    for fields in ({"to": "a", "topic": "b"}, {"to": None}, {"to": None, "topic": "inbox/a"}, {"to": None, "topic": "inbox.a"}):
        with refused("bad_request"):
            poet.ask("stream.open", stream="s1", **fields)
    with refused("not_joined"):
        Writer(driver.agent("nobody"))
    with refused("stream_not_found"):
        poet.ask("stream.write", stream="s1", token=1, n=1, chunks=[b"a"])
    with refused("stream_not_found"):
        poet.ask("stream.close", stream="s1", token=1, n=1)
    writer = Writer(poet)
    with refused("message_too_large"):
        writer.write(b"x" * ((1 << 20) + 1))
    writer.n = 0
    with refused("overloaded"):
        Writer(poet, "s2")
    with refused("bad_request"):
        poet.ask("event.emit", type="stream.opened")
    Writer(poet)
    writer = Writer(poet)
    writer.close()
    Writer(poet, "s2")
