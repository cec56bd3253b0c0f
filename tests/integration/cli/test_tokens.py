from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langgraph_nolag import AccessDenied, NotAuthorized, connect

from .conftest import Cli


def use(cli: Cli, token: str, work: Any, room: str = "newsroom") -> Any:
    async def run() -> Any:
        async with connect(cli.broker.url, token=token) as client:
            return await work(await client.join(room))

    return asyncio.run(run())


def test_a_token_opens_what_it_says_and_nothing_else(cli: Cli) -> None:
    minted = cli("token", "ana", "--room", "newsroom", "--verb", "state", "--ttl", "5m")
    assert minted.status == 0
    token = minted.out.strip()

    async def write(room: Any) -> str:
        await room.blackboard.set("k", 1)
        with pytest.raises(NotAuthorized):
            await room.observe.emit("not.granted")
        return str(room.link.actor)

    assert use(cli, token, write) == "ana"
    with pytest.raises(NotAuthorized):
        use(cli, token, write, room="elsewhere")


def test_roles_and_facts_are_in_the_json(cli: Cli) -> None:
    minted = cli("token", "bo", "--role", "finance", "--role", "legal", "--ttl", "2h", "--json").json
    assert (minted["actor"], minted["roles"], minted["ttl"]) == ("bo", ["finance", "legal"], 7200.0)
    assert minted["token"].count(".") == 2
    assert minted["jti"]


def test_revoking_an_actor_ends_its_tokens(cli: Cli) -> None:
    token = cli("token", "carl").out.strip()
    assert cli("token", "revoke", "carl").status == 0

    async def nothing(room: Any) -> None: ...

    with pytest.raises(AccessDenied):
        use(cli, token, nothing)


def test_revoking_one_token_leaves_the_others(cli: Cli) -> None:
    first, second = (cli("token", "dora", "--json").json for _ in range(2))
    assert cli("token", "revoke", first["jti"]).status == 0

    async def nothing(room: Any) -> None: ...

    with pytest.raises(AccessDenied):
        use(cli, first["token"], nothing)
    use(cli, second["token"], nothing)


def test_only_an_admin_mints_for_others(cli: Cli) -> None:
    refused = cli("token", "root", "--token", cli.broker.token("somebody"))
    assert refused.status == 1
    assert len(refused.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("ana", "--ttl", "soon"),
        ("ana", "--ttl", "-5m"),
        ("ana", "--verb", "fly"),
        ("ana", "bo"),
        ("revoke",),
        (),
        ("ana", "--room", "a**b"),
    ],
)
def test_wrong_use_is_exit_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    answer = cli("token", *arguments)
    assert answer.status == 2
    assert answer.err
