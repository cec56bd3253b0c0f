"""Tokens: one good form, and one and the same refusal for everything else."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import resource
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nolag_broker.server.auth import EVERYTHING, Authority, Identity, Revocations, load_key, new_key
from nolag_broker.server.errors import CannotStart
from nolag_broker.wire.codes import Refusal

if TYPE_CHECKING:
    from .conftest import Harness, Start

KEY = bytes(range(32))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def forge(
    token: str, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None, key: bytes = KEY, digest: str = "sha256"
) -> str:
    """The token with other fields (None takes one out), well signed with `key`."""
    head, body, _ = token.split(".")
    parts = []
    for part, changes in ((head, header), (body, claims)):
        fields = {**unb64(part), **(changes or {})}
        parts.append(b64(json.dumps({name: value for name, value in fields.items() if value is not None}).encode()))
    signed = ".".join(parts)
    return f"{signed}.{b64(hmac.new(key, signed.encode(), digest).digest())}"


ATTACKS: dict[str, Callable[[str], Any]] = {
    "nothing": lambda token: None,
    "a number": lambda token: 7,
    "bytes": lambda token: token.encode(),
    "empty": lambda token: "",
    "dots": lambda token: "..",
    "one part": lambda token: token.split(".")[0],
    "no signature": lambda token: ".".join(token.split(".")[:2]) + ".",
    "half a signature": lambda token: token[:-20],
    "another signature": lambda token: token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
    "a signature of another key": lambda token: forge(token, key=bytes(32)),
    "an empty key": lambda token: forge(token, key=b""),
    "alg none": lambda token: forge(token, {"alg": "none"}),
    "alg none, no signature": lambda token: forge(token, {"alg": "none"}).rsplit(".", 1)[0] + ".",
    "alg None": lambda token: forge(token, {"alg": "None"}),
    "alg HS384": lambda token: forge(token, {"alg": "HS384"}, digest="sha384"),
    "alg HS512": lambda token: forge(token, {"alg": "HS512"}, digest="sha512"),
    "alg RS256": lambda token: forge(token, {"alg": "RS256"}),
    "no alg": lambda token: forge(token, {"alg": None}),
    "alg a list": lambda token: forge(token, {"alg": ["HS256"]}),
    "no kid": lambda token: forge(token, {"kid": None}),
    "another kid": lambda token: forge(token, {"kid": "x"}),
    "kid a path": lambda token: forge(token, {"kid": "../../dev/null"}),
    "crit": lambda token: forge(token, {"crit": ["exp"]}),
    "crit empty": lambda token: forge(token, {"crit": []}),
    "jku": lambda token: forge(token, {"jku": "https://evil.example/keys"}),
    "jwk": lambda token: forge(token, {"jwk": {"kty": "oct", "k": b64(KEY)}}),
    "x5u": lambda token: forge(token, {"x5u": "https://evil.example/cert"}),
    "x5c": lambda token: forge(token, {"x5c": ["AAAA"]}),
    "b64 false": lambda token: forge(token, {"b64": False}),
    "zip": lambda token: forge(token, {"zip": "DEF"}),
    "expired": lambda token: forge(token, claims={"exp": time.time() - 60}),
    "exp a text": lambda token: forge(token, claims={"exp": "tomorrow"}),
    "not yet": lambda token: forge(token, claims={"nbf": time.time() + 60}),
    "issued tomorrow": lambda token: forge(token, claims={"iat": time.time() + 86400}),
    "another audience": lambda token: forge(token, claims={"aud": "other"}),
    "several audiences": lambda token: forge(token, claims={"aud": ["nolag", "other"]}),
    "another issuer": lambda token: forge(token, claims={"iss": "other"}),
    "actor a number": lambda token: forge(token, claims={"sub": 7}),
    "actor empty": lambda token: forge(token, claims={"sub": ""}),
    "actor a pattern": lambda token: forge(token, claims={"sub": "**"}),
    "actor of the broker": lambda token: forge(token, claims={"sub": "@broker"}),
    "jti a number": lambda token: forge(token, claims={"jti": 7}),
    "grants a map": lambda token: forge(token, claims={"grants": {"room": "**"}}),
    "grants of a verb nobody knows": lambda token: forge(token, claims={"grants": [{"room": "**", "verbs": ["root"]}]}),
    "grants with a field nobody knows": lambda token: forge(token, claims={"grants": [{"room": "**", "verb": ["subscribe"]}]}),
    "roles a text": lambda token: forge(token, claims={"roles": 7}),
    "too long": lambda token: forge(token, claims={"padding": "x" * 20_000}),
    "deep": lambda token: forge(token).split(".")[0] + "." + b64(b'{"a":' * 5000 + b"1" + b"}" * 5000) + "." + token.split(".")[2],
    **{
        f"no {claim}": lambda token, claim=claim: forge(token, claims={claim: None})
        for claim in ("exp", "iat", "aud", "iss", "sub", "jti", "grants")
    },
}


@pytest.fixture
def authority() -> Authority:
    return Authority(KEY, Revocations())


def test_a_good_token_is_good(authority: Authority) -> None:
    token = authority.mint("ana", [{"room": "r"}], ["finance"], ttl=60)
    identity = authority.verify(forge(token))  # forged with our own key: the attacks below differ from this in one thing each
    assert identity.jti == authority.verify(token).jti
    assert (identity.actor, identity.roles) == ("ana", {"finance"})
    assert identity.grants.allows("dispatch", "r", "x")
    assert not identity.grants.allows("dispatch", "s", "x")
    assert not identity.is_admin
    assert 50 < identity.expires - time.time() <= 60


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_meets_the_same_refusal(authority: Authority, attack: str) -> None:
    with pytest.raises(Refusal) as caught:
        authority.verify(ATTACKS[attack](authority.mint("ana", ttl=60)))
    assert caught.value.to_wire() == {
        "code": "access_denied",
        "message": "the token is not valid for this broker",
        "retryable": False,
        "maybe_applied": False,
        "detail": {},
    }


@pytest.mark.parametrize(
    "bad", [{"actor": ""}, {"actor": "@broker"}, {"actor": "a*"}, {"ttl": 0}, {"ttl": -1}, {"ttl": float("nan")}, {"ttl": "15m"}]
)
def test_what_can_not_be_minted(authority: Authority, bad: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        authority.mint(**{"actor": "ana", "ttl": 60.0, **bad})
    assert caught.value.code == "bad_request"


def minter(authority: Authority, grants: list[dict[str, Any]], actor: str = "worker", ttl: float = 60) -> Identity:
    return authority.verify(authority.mint(actor, grants, ["finance", "ops"], ttl))


OWN = [{"room": "news", "topics": ["a/*", "b"], "verbs": ["claim", "publish"]}]


@pytest.mark.parametrize(
    "grants",
    [None, OWN, [{"room": "news", "topics": ["a/x"], "verbs": ["claim"]}], [{"room": "news", "topics": ["b"], "verbs": []}]],
)
def test_a_worker_mints_for_its_processes(authority: Authority, grants: Any) -> None:
    identity = authority.verify(authority.mint_for(minter(authority, OWN), "worker/1", grants, ["ops"], 600))
    assert identity.actor == "worker/1"
    assert identity.roles == {"ops"}
    assert identity.expires - time.time() <= 60
    assert not identity.grants.allows("claim", "news", "c")


@pytest.mark.parametrize(
    ("actor", "grants", "roles"),
    [
        ("other", None, None),
        ("worker", None, None),
        ("workers/1", None, None),
        ("worker/1", [{"room": "**"}], None),
        ("worker/1", [{"room": "news", "topics": ["**"], "verbs": ["claim"]}], None),
        ("worker/1", [{"room": "news", "topics": ["a/*/x"], "verbs": ["claim"]}], None),
        ("worker/1", [{"room": "news", "topics": ["c"], "verbs": ["claim"]}], None),
        ("worker/1", [{"room": "news", "topics": ["b"], "verbs": ["admin"]}], None),
        ("worker/1", [{"room": "*", "topics": ["b"], "verbs": ["claim"]}], None),
        ("worker/1", None, ["boss"]),
    ],
)
def test_but_no_more_than_it_has(authority: Authority, actor: str, grants: Any, roles: Any) -> None:
    with pytest.raises(Refusal) as caught:
        authority.mint_for(minter(authority, OWN), actor, grants, roles, 60)
    assert caught.value.code == "not_authorized"


def test_an_admin_mints_anything(authority: Authority) -> None:
    admin = minter(authority, list(EVERYTHING), "root")
    assert authority.verify(authority.mint_for(admin, "boss", list(EVERYTHING), ["x"], 1e6)).is_admin


def test_a_revoked_token_ends_and_what_it_minted(authority: Authority) -> None:
    revocations = Revocations()
    authority = Authority(KEY, revocations)
    parent = authority.mint("worker", [{"room": "**"}], ttl=60)
    child = authority.mint_for(authority.verify(parent), "worker/1", None, None, 60)
    grandchild = authority.mint_for(authority.verify(child), "worker/1/a", None, None, 60)
    other = authority.mint("worker", ttl=60)
    revocations.add("jti", authority.verify(parent).jti, time.time())
    for token in (parent, child, grandchild):
        with pytest.raises(Refusal):
            authority.verify(token)
    authority.verify(other)


def test_a_revoked_actor_ends_with_all_it_had_until_then(authority: Authority) -> None:
    revocations = Revocations()
    authority = Authority(KEY, revocations)
    old = [authority.mint("worker", ttl=60), authority.mint("worker/1", ttl=60)]
    namesake = authority.mint("workers", ttl=60)
    revocations.add("actor", "worker", time.time())
    for token in old:
        with pytest.raises(Refusal):
            authority.verify(token)
    authority.verify(namesake)
    authority.verify(authority.mint("worker", ttl=60))


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secret.key"
    key = load_key(file)
    assert len(key) == 32
    assert key != new_key()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_key(file) == key


def test_a_key_that_can_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """A part of a key would keep every later start from its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        with pytest.raises(CannotStart, match="cannot write"):
            load_key(tmp_path / "secret.key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    load_key(file)
    file.chmod(0o644)
    with pytest.raises(CannotStart, match="chmod 600"):
        load_key(file)


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    file.write_bytes(os.urandom(16))
    file.chmod(0o600)
    with pytest.raises(CannotStart, match="32 bytes"):
        load_key(file)


# -- over the wire


@pytest.mark.parametrize("attack", ["nothing", "another signature", "alg none, no signature", "expired", "crit"])
async def test_a_refused_token_is_told_so_and_closed_normally(broker: Harness, attack: str) -> None:
    client = await broker.socket()
    answer = await client.auth(ATTACKS[attack](broker.broker.mint("ana")))
    assert answer == {"type": "auth", "success": False, "error": "access_denied", "message": "the token is not valid for this broker"}
    assert await client.close_code() == (1000, "")


async def test_a_token_of_another_broker_is_refused(start: Start) -> None:
    one, other = await start(), await start()
    client = await one.socket()
    assert (await client.auth(other.broker.mint("ana")))["error"] == "access_denied"


async def test_tokens_outlive_a_restart_and_not_the_memory(start: Start) -> None:
    for engine, good in (("sqlite", True), ("memory", False)):
        broker = await start(engine=engine)
        token = broker.broker.mint("ana")
        await broker.restart()
        client = await broker.socket()
        assert (await client.auth(token))["success"] is good


async def test_a_session_ends_with_its_token(broker: Harness) -> None:
    client = await broker.client(token=broker.broker.mint("ana", ttl=0.3))
    assert await client.close_code() == (4004, "token_expired")


async def test_a_refreshed_session_goes_on(broker: Harness) -> None:
    client = await broker.client(token=broker.broker.mint("ana", ttl=1.0))
    assert client.welcome["expires"] < time.time() + 2
    refreshed = await client.call("auth.refresh", None, token=broker.broker.mint("ana", [{"room": "s"}], ttl=600))
    assert refreshed["expires"] > time.time() + 500
    await asyncio.sleep(1.5)  # past the end of the first token, and a look of the broker
    assert await client.call("ping", None)
    assert (await client.refused("room.join", "r"))["code"] == "not_authorized"
    await client.call("room.join", "s")


async def test_a_refreshed_session_is_given_nothing_that_it_may_not_claim_any_more(any_broker: Harness) -> None:
    worker, boss = await any_broker.member("ana"), await any_broker.member("bob")
    await worker.call("task.serve", offer=1, slots=2, types=["secret"])
    await worker.call("task.serve", offer=2, slots=2, types=["open"])
    await boss.call("task.dispatch", task="held", type="secret", body=b"1", follow=False)
    held = await worker.push("task", task="held")
    grants = [{"room": "r", "topics": ["open"], "verbs": ["claim"]}]
    await worker.call("auth.refresh", None, token=any_broker.broker.mint("ana", grants))
    ended = await worker.push("unserved")
    assert (ended["offer"], ended["err"]["code"]) == (1, "not_authorized")
    for type in ("secret", "open"):
        await boss.call("task.dispatch", task=type, type=type, body=b"2", follow=False)
    assert (await worker.push("task"))["task"] == "open"
    assert (await boss.call("task.get", task="secret"))["task"]["state"] == "waiting"
    assert (await worker.call("task.complete", task="held", token=held["token"], body=b"done"))["state"] == "completed"
    assert (await worker.refused("task.serve", offer=3, slots=1, types=["secret"]))["code"] == "not_authorized"


async def test_a_refreshed_session_that_may_not_enter_a_room_any_more_has_left_it(any_broker: Harness) -> None:
    ana, boss = await any_broker.member("ana"), await any_broker.member("bob")
    await ana.call("inbox.open")
    await ana.call("log.subscribe", sub=1)
    await ana.call("stream.open", stream="s", to="ana")
    await ana.call("stream.follow", sub=2, stream="s")
    await ana.call("approval.request", approval="pay", action="pay", allow=["approve"], body=b"")
    await ana.call("task.dispatch", task="hers", type="other", body=b"")
    await ana.call("task.serve", offer=1, slots=1, kind="tool", types=["add"])
    await ana.call("task.serve", offer=2, slots=1, types=["draft"])
    await boss.call("task.dispatch", task="held", type="draft", body=b"1", follow=False)
    held = await ana.push("task")
    await boss.call("task.serve", offer=1, slots=5)

    await ana.call("auth.refresh", None, token=any_broker.broker.mint("ana", [{"room": "s"}]))
    await ana.push("expired", room="r")
    assert (await ana.push("failed", sub=1))["err"]["code"] == "not_authorized"
    assert (await ana.push("stream", sub=2))["err"]["code"] == "not_authorized"
    assert [member["actor"] for member in (await boss.call("presence.list"))["members"]] == ["bob"]
    assert (await boss.call("tool.list"))["tools"] == []
    again = await boss.push("task", task="held")
    assert again["token"] > held["token"]
    assert (await ana.refused("task.complete", task="held", token=held["token"], body=b""))["code"] == "not_authorized"
    await ana.call("ping", None)
    ana.pushes.clear()

    hers = await boss.push("task", task="hers")
    await boss.call("task.complete", task="hers", token=hers["token"], body=b"secret")
    await boss.call("approval.decide", approval="pay", type="approve", message="secret")
    await boss.call("inbox.send", to="ana", body=b"secret", keep=True)
    await ana.call("ping", None)
    assert ana.pushes == []


async def test_a_refresh_must_be_good_and_of_the_same_actor(broker: Harness) -> None:
    client = await broker.client("ana")
    for token in (broker.broker.mint("bob"), "x", None):
        assert (await client.refused("auth.refresh", None, token=token))["code"] == "access_denied"
    await client.call("ping", None)


@pytest.mark.parametrize("kind", ["actor", "jti"])
async def test_a_revocation_closes_and_stays(start: Start, kind: str) -> None:
    broker = await start(engine="sqlite")
    token = broker.broker.mint("mallory")
    jti = unb64(token.split(".")[1])["jti"]
    mallory, ana, admin = await broker.client(token=token), await broker.client("ana"), await broker.admin()
    assert await admin.call("token.revoke", None, **{kind: "mallory" if kind == "actor" else jti}) == {}
    assert await mallory.close_code() == (4001, "revoked")
    await ana.call("ping", None)
    for _ in range(2):  # the second time after a restart
        refused = await broker.socket()
        assert (await refused.auth(token))["error"] == "access_denied"
        again = await broker.client(token=broker.broker.mint("mallory"))  # a token issued later is good
        await again.close()
        await broker.restart()


async def test_only_an_admin_revokes_and_asks_about_the_broker(broker: Harness) -> None:
    ana, admin = await broker.client("ana"), await broker.admin()
    for op, fields in (("token.revoke", {"actor": "bob"}), ("broker.info", {}), ("room.create", {"name": "x"})):
        assert (await ana.refused(op, None, **fields))["code"] == "not_authorized"
    info = await admin.call("broker.info", None)
    assert (info["engine"], info["durability"], info["connections"]) == ("memory", "process", 2)
    for fields in ({}, {"actor": "a", "jti": "b"}, {"actor": 7}):
        assert (await admin.refused("token.revoke", None, **fields))["code"] == "bad_request"


async def test_tokens_are_minted_over_the_wire(broker: Harness) -> None:
    admin = await broker.admin()
    worker = await broker.client(token=(await admin.call("token.mint", None, actor="w", ttl=60, grants=[{"room": "r"}]))["token"])
    child = await broker.client(token=(await worker.call("token.mint", None, actor="w/1", ttl=60))["token"])
    assert child.welcome["actor"] == "w/1"
    assert (await worker.refused("token.mint", None, actor="x", ttl=60))["code"] == "not_authorized"
    assert (await admin.refused("token.mint", None, actor="x"))["code"] == "bad_request"
