from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest

from langgraph_nolag.client.credentials import actor_of, parse_address, resolve
from langgraph_nolag.errors import BadRequest, BrokerUnreachable


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NOLAG_URL", "NOLAG_TOKEN", "NOLAG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def store(path: Path, url: str = "ws://127.0.0.1:7420", token: str = "admin-token") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "credentials.json").write_text(json.dumps({"url": url, "token": token}))
    return path


@pytest.mark.parametrize(
    ("address", "url", "room"),
    [
        ("ws://127.0.0.1:7420", "ws://127.0.0.1:7420", None),
        ("ws://127.0.0.1:7420/", "ws://127.0.0.1:7420", None),
        ("wss://host/newsroom", "wss://host", "newsroom"),
        ("ws://[::1]:7420/a.b", "ws://[::1]:7420", "a.b"),
    ],
)
def test_an_address_is_taken_apart(address: str, url: str, room: str | None) -> None:
    assert (parse_address(address).url, parse_address(address).room) == (url, room)


@pytest.mark.parametrize(
    "address", ["ws://[::bad", "", "127.0.0.1:7420", "http://host", "ws://", "ws://host:port", "ws://host/r?x=1", "ws://host:99999"]
)
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(BadRequest, match="ws://HOST:PORT"):
        parse_address(address)


def test_arguments_come_before_the_environment_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store(tmp_path / ".nolag")
    found = resolve()
    assert (found.url, found.token, found.admin) == ("ws://127.0.0.1:7420", "admin-token", True)
    monkeypatch.setenv("NOLAG_TOKEN", "from-env")
    assert (resolve().token, resolve().admin) == ("from-env", False)
    monkeypatch.setenv("NOLAG_URL", "ws://elsewhere:1")
    assert resolve().url == "ws://elsewhere:1"
    found = resolve("ws://here:2", "mine")
    assert (found.url, found.token) == ("ws://here:2", "mine")


def test_the_directory_comes_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOLAG_PATH", str(store(tmp_path / "a", "ws://a:1")))
    assert resolve().url == "ws://a:1"
    assert resolve(path=store(tmp_path / "b", "ws://b:1")).url == "ws://b:1"


def test_a_directory_that_is_named_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOLAG_URL", "ws://elsewhere:1")
    monkeypatch.setenv("NOLAG_TOKEN", "from-env")
    found = resolve(path=store(tmp_path / "b", "ws://b:1"))
    assert (found.url, found.token) == ("ws://b:1", "admin-token")


def test_nothing_known_says_how_to_start_a_broker() -> None:
    with pytest.raises(BrokerUnreachable, match="langgraph-nolag broker"):
        resolve()


def test_the_admin_token_is_given_to_its_own_broker_only(tmp_path: Path) -> None:
    store(tmp_path / ".nolag")
    with pytest.raises(BadRequest, match="no token for ws://stranger:1"):
        resolve("ws://stranger:1")
    assert resolve("ws://127.0.0.1:7420").admin


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"url": "ws://x:1"}'])
def test_a_broken_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / ".nolag").mkdir()
    (tmp_path / ".nolag" / "credentials.json").write_text(content)
    with pytest.raises(BadRequest, match=r"credentials\.json"):
        resolve()


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    assert "secret-token" not in repr(resolve("ws://h:1", "secret-token"))


def test_the_actor_of_a_token_is_read_without_its_key() -> None:
    assert actor_of(jwt.encode({"sub": "writer"}, "k" * 32)) == "writer"
    for no_token in ("", "x", "a.b.c", "a.e30.c"):
        assert actor_of(no_token) is None
