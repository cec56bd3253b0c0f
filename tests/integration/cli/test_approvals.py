from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Cli


@pytest.fixture
def ask(cli: Cli) -> Any:
    """Ask for an approval; returns its id."""

    def request(action: str = "publish", args: Any = None, room: str = "newsroom", **more: Any) -> str:
        async def work(joined: Any) -> str:
            return (await joined.approve.request(action, args or {"title": "Tea"}, **more)).id

        return str(cli.agent(work, room))

    return request


def decision(cli: Cli, id: str, room: str = "newsroom") -> Any:
    async def work(joined: Any) -> Any:
        return await (await joined.approve.follow(id)).decision(timeout=10)

    return cli.agent(work, room)


def test_what_waits_is_listed_for_people_and_for_programs(cli: Cli, ask: Any) -> None:
    id = ask("publish", {"title": "Tea"})
    listed = cli("approvals", "list")
    assert listed.status == 0
    assert id in listed.out
    assert "publish" in listed.out
    found = {approval["approval"]: approval for approval in cli("approvals", "list", "--json").json["approvals"]}
    assert found[id]["args"] == {"title": "Tea"}
    assert found[id]["room"] == "newsroom"
    assert found[id]["state"] == "pending"


def test_every_room_is_searched_unless_one_is_named(cli: Cli, ask: Any) -> None:
    id = ask("publish", room="elsewhere")
    assert id in cli("approvals", "list").out
    assert id in cli("approvals", "list", "--room", "elsewhere").out
    assert id not in cli("approvals", "list", "--room", "newsroom").out


def test_one_is_shown_with_its_text_as_it_stands(cli: Cli, ask: Any) -> None:
    id = ask("publish", {"text": "# Tea\n\n[bold]not markup[/bold]"}, description="Is it good?")
    shown = cli("approvals", "show", id)
    assert shown.status == 0
    assert "# Tea\n\n[bold]not markup[/bold]" in shown.out
    assert "Is it good?" in shown.out
    assert cli("approvals", "show", id, "--json").json["args"]["text"].startswith("# Tea")


def test_words_can_not_steer_the_terminal_or_pass_for_facts(cli: Cli, ask: Any) -> None:
    id = ask("pay", {"to": "mallory\x1b[2K\rto: alice", "x\nto": "\u202eecila"}, description="fine\nto: bob")
    shown = cli("approvals", "show", id).out
    assert "to: mallory\\x1b[2K\\x0dto: alice\n" in shown
    assert "x\\nto: \\u202eecila\n" in shown
    assert "asks       fine\n           to: bob\n" in shown
    assert not {"\x1b", "\r", "\u202e"} & set(shown + cli("approvals", "list").out)


def test_what_can_not_be_read_hides_nothing_else(cli: Cli, ask: Any) -> None:
    good, poisoned = ask("publish", {"title": "Tea"}), b"\xc1"
    deep = b"\x91" * 1000 + b"\xc0"

    async def work(room: Any) -> None:
        for id, body in (("poisoned", poisoned), ("deep", deep)):
            await room.link.acall("approval.request", approval=id, action="publish", body=body, allow=["approve", "edit"])

    cli.agent(work)
    found = {each["approval"]: each["args"] for each in cli("approvals", "list", "--all", "--json").json["approvals"]}
    assert found[good] == {"title": "Tea"}
    assert found["poisoned"] == {"base64": "wQ=="}
    assert "nested deeper" in json.dumps(found["deep"])
    for id in ("poisoned", "deep"):
        assert cli("approvals", "show", id).status == 0


@pytest.mark.parametrize("args", ["{bad", "[" * 5000, b"\xff\xfe"])
def test_arguments_that_are_no_json_are_wrong_use(cli: Cli, ask: Any, args: str | bytes) -> None:
    given = "-" if isinstance(args, bytes) else args
    answer = cli("approvals", "edit", ask(), "--args", given, stdin=args)
    assert answer.status == 2
    assert "not JSON" in answer.err


@pytest.mark.parametrize("args", ['"Coffee"', '["Coffee"]', "5"])
def test_an_edit_of_a_map_is_one(cli: Cli, ask: Any, args: str) -> None:
    id = ask()
    answer = cli("approvals", "edit", id, "--args", args)
    assert answer.status == 2, answer
    assert 'one too: {"name": value}' in answer.err
    assert cli("approvals", "approve", id).status == 0, "it waits still"


def test_approve_with_the_beginning_of_the_id(cli: Cli, ask: Any) -> None:
    id = ask(id="abbreviated-approval")
    done = cli("approvals", "approve", "abbrev", "--by", "ana", "--message", "fine", "--json")
    assert done.status == 0, done
    assert done.json["approval"] == id
    decided = decision(cli, id)
    assert (decided.approved, decided.by, decided.message, decided.actor) == (True, "ana", "fine", "admin")


def test_edit_takes_json_from_the_command_line_or_standard_input(cli: Cli, ask: Any) -> None:
    first, second = ask(), ask()
    assert cli("approvals", "edit", first, "--args", '{"title": "Coffee"}').status == 0
    assert cli("approvals", "edit", second, "--args", "-", stdin='{"title": "Milk"}').status == 0
    assert decision(cli, first).args == {"title": "Coffee"}
    assert decision(cli, second).args == {"title": "Milk"}


def test_reject_and_respond(cli: Cli, ask: Any) -> None:
    first, second = ask(), ask(allow=["respond", "reject"])
    assert cli("approvals", "reject", first, "-m", "no").status == 0
    assert cli("approvals", "respond", second, "-m", "ask Bo").status == 0
    assert not decision(cli, first).approved
    answered = decision(cli, second)
    assert (answered.type, answered.message) == ("respond", "ask Bo")


def test_a_quorum_takes_more_than_one_vote(cli: Cli, ask: Any) -> None:
    id = ask(quorum=2)
    done = cli("approvals", "approve", id)
    assert done.status == 0
    assert "1 of 2 votes" in done.out
    assert cli("approvals", "show", id, "--json").json["state"] == "pending"


def test_who_is_asked_sees_what_the_others_edited(cli: Cli, ask: Any) -> None:
    id = ask(quorum=2)
    done = cli("approvals", "edit", id, "--args", '{"title": "Coffee"}')
    assert "1 of 2 votes" in done.out
    shown = cli("approvals", "show", id).out
    assert "edit by admin" in shown
    assert ', to {"title": "Coffee"}' in shown
    (vote,) = cli("approvals", "show", id, "--json").json["votes"]
    assert (vote["actor"], vote["type"], vote["args"]) == ("admin", "edit", {"title": "Coffee"})


def test_a_vote_is_passed_on(cli: Cli, ask: Any) -> None:
    id = ask("pay", approvers=["admin"])
    assert cli("approvals", "delegate", id, "admin").status == 2
    done = cli("approvals", "delegate", id, "ben", "--reason", "on holiday", "--json")
    assert (done.status, done.json["to"]) == (0, "ben")
    assert cli("approvals", "approve", id).status == 1
    assert "delegated  admin to ben, " in cli("approvals", "show", id).out
    assert "on holiday" in cli("approvals", "show", id).out
    assert cli("approvals", "show", id, "--json").json["delegations"][0]["to"] == "ben"
    assert "admin to ben" in " ".join(cli("approvals", "list").out.split())
    cli.agent(lambda room: room.approve.decide(id, "approve"), actor="ben")
    assert "approve by ben for admin, " in cli("approvals", "show", id).out
    assert cli("approvals", "delegate", id, "cy").status == 1


def test_the_second_decision_is_refused_in_one_line(cli: Cli, ask: Any) -> None:
    id = ask()
    assert cli("approvals", "approve", id).status == 0
    again = cli("approvals", "reject", id)
    assert again.status == 1
    assert len(again.err.splitlines()) == 1
    assert "already decided: admin said 'approve'" in again.err
    assert decision(cli, id).approved
    assert id not in cli("approvals", "list").out
    assert id in cli("approvals", "list", "--all").out


def test_an_answer_that_was_not_asked_for_is_wrong_use(cli: Cli, ask: Any) -> None:
    id = ask(allow=["approve", "reject"])
    refused = cli("approvals", "respond", id, "-m", "well")
    assert refused.status == 2
    assert "approve, reject" in refused.err
    assert cli("approvals", "show", id, "--json").json["state"] == "pending"


def test_an_id_that_is_not_there_or_not_enough(cli: Cli, ask: Any) -> None:
    ask(id="twin-one")
    ask(id="twin-two")
    assert cli("approvals", "approve", "no-such-id").status == 1
    ambiguous = cli("approvals", "approve", "twin-")
    assert ambiguous.status == 2
    assert "2 approvals begin with" in ambiguous.err


@pytest.mark.parametrize(
    "arguments", [("edit", "x"), ("edit", "x", "--args", "{not json"), ("respond", "x"), ("approve",), ("applaud", "x")]
)
def test_wrong_use_is_exit_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli("approvals", *arguments).status == 2


def test_an_error_is_json_where_json_was_asked_for(cli: Cli) -> None:
    refused = cli("approvals", "show", "no-such-id", "--json")
    assert refused.status == 1
    assert refused.out == ""
    assert json.loads(refused.err)["error"]["code"] == "approval_not_found"
