"""Tokens: JWTs for one actor, signed with a key that never leaves the broker's machine."""

from __future__ import annotations

import hashlib
import secrets
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt

from ..wire.codes import Refusal
from ..wire.grants import VERBS, Grants
from ..wire.topics import check_name, matches
from .errors import CannotStart
from .private import write_private

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "nolag"
ISSUER: Final = "nolag-broker"
KEY_FILE: Final = "secret.key"
KEY_BYTES: Final = 32
MAX_TOKEN: Final = 16 << 10  # characters
LEEWAY: Final = 2.0  # seconds that two clocks may differ
SYSTEM: Final = "_system"  # the room of what belongs to no room; `admin` there is admin of the broker
EVERYTHING: Final[tuple[dict[str, Any], ...]] = ({"room": "**", "topics": ["**"], "verbs": list(VERBS)},)
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_CLAIMS: Final = ("exp", "iat", "aud", "iss", "sub", "jti")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token speaks for.

    Args:
        jti: the token's own name, by which it can be revoked.
        via: the names of the tokens that minted it, oldest first: with one of them this one ends too.
        issued, expires: seconds since 1970.
    """

    actor: str
    grants: Grants
    roles: frozenset[str]
    jti: str
    via: tuple[str, ...]
    issued: float
    expires: float

    @property
    def is_admin(self) -> bool:
        return self.grants.is_admin(SYSTEM)


class Revocations:
    """Tokens that ended before their time: by name, or all that an actor had until a moment."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._actors: dict[str, float] = {}

    def add(self, kind: str, name: str, at: float) -> None:
        """`kind` is `jti` or `actor`; `at` counts for actors: tokens issued until then."""
        if kind == "jti":
            self._tokens.add(name)
        else:
            self._actors[name] = max(at, self._actors.get(name, 0.0))

    def cover(self, identity: Identity) -> bool:
        if identity.jti in self._tokens or not self._tokens.isdisjoint(identity.via):
            return True
        return bool(self._actors) and any(identity.issued <= self._actors.get(name, 0.0) for name in _lineage(identity.actor))


def _lineage(actor: str) -> Iterable[str]:
    """`a/b/c`, `a/b`, `a`: an actor and those that could have minted its tokens."""
    while actor:
        yield actor
        actor = actor.rpartition("/")[0]


class Authority:
    """Mints tokens and judges them. One key, one algorithm, one refusal."""

    def __init__(self, key: bytes, revocations: Revocations) -> None:
        self._key = key
        self._kid = hashlib.sha256(b"nolag key id" + key).hexdigest()[:16]
        self._revocations = revocations

    def mint(
        self,
        actor: str,
        grants: Sequence[Mapping[str, Any]] | None = None,
        roles: Iterable[str] = (),
        ttl: float = 3600.0,
        via: Sequence[str] = (),
    ) -> str:
        """A token for one actor.

        Args:
            grants: absent, every room and every verb but `admin`.
            ttl: seconds it is good for.

        Raises:
            Refusal: `bad_request`.
        """
        if not _is_actor(actor):
            raise Refusal("bad_request", "an actor is a name without '*' that does not begin with '@'")
        if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl < 1e10:
            raise Refusal("bad_request", "ttl is a positive number of seconds")
        roles = list(roles)
        if not all(isinstance(role, str) for role in roles):
            raise Refusal("bad_request", "roles is a list of strings")
        parsed = Grants.parse([{"room": "**"}] if grants is None else grants)
        now = time.time()
        claims = {
            "sub": actor,
            "jti": secrets.token_hex(8),
            "iat": now,
            "exp": now + ttl,
            "aud": AUDIENCE,
            "iss": ISSUER,
            "grants": parsed.to_wire(),
            "roles": roles,
        }
        if via:
            claims["via"] = list(via)
        return jwt.encode(claims, self._key, ALGORITHM, headers={"kid": self._kid})

    def mint_for(self, minter: Identity, actor: Any, grants: Any, roles: Any, ttl: Any) -> str:
        """A token that another token's holder asks for. An admin may mint any; anybody else only `<itself>/<suffix>`, with no more
        than it may do itself, no other roles, and no longer than its own token is good for.

        Raises:
            Refusal: `not_authorized`, `bad_request`.
        """
        if not isinstance(actor, str) or not isinstance(roles, (list, type(None))):
            raise Refusal("bad_request", "actor is a string and roles a list of strings")
        if minter.is_admin:
            return self.mint(actor, grants, roles or (), ttl)
        wanted = minter.grants if grants is None else Grants.parse(grants)
        left = minter.expires - time.time()
        if not actor.startswith(minter.actor + "/") or not _within(wanted, minter.grants) or not minter.roles.issuperset(roles or ()):
            raise Refusal("not_authorized", f"a token of {minter.actor!r} can mint '{minter.actor}/<suffix>' with its own grants, or fewer")
        if isinstance(ttl, (int, float)):
            ttl = min(ttl, left)
        return self.mint(actor, wanted.to_wire(), roles or (), ttl, via=(*minter.via, minter.jti))

    def verify(self, token: Any) -> Identity:
        """Who the token speaks for.

        Raises:
            Refusal: `access_denied`, in the same words whatever is wrong.
        """
        try:
            identity = self._verify(token)
        except Exception:  # one answer for all: what exactly was wrong helps only an attacker
            identity = None
        if identity is None or self._revocations.cover(identity):
            raise Refusal("access_denied", "the token is not valid for this broker")
        return identity

    def _verify(self, token: Any) -> Identity | None:
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            return None
        header = jwt.get_unverified_header(token)
        # No other header is known here: that refuses crit, jku, jwk, x5u, x5c and whatever comes after them.
        if not _HEADER.issuperset(header) or header.get("alg") != ALGORITHM or header.get("kid") != self._kid:
            return None
        claims = jwt.decode(
            token,
            self._key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": list(_CLAIMS), "strict_aud": True},
        )
        roles, via = claims.get("roles", []), claims.get("via", [])
        if not all(isinstance(item, str) for item in (*roles, *via, claims["jti"])) or not _is_actor(claims["sub"]):
            return None
        return Identity(
            actor=claims["sub"],
            grants=Grants.parse(claims.get("grants")),
            roles=frozenset(roles),
            jti=claims["jti"],
            via=tuple(via),
            issued=float(claims["iat"]),
            expires=float(claims["exp"]),
        )


def _is_actor(name: Any) -> bool:
    """Names that begin with `@` are the broker's own."""
    return isinstance(name, str) and not check_name(name, "actor").startswith("@")


def _within(wanted: Grants, own: Grants) -> bool:
    """Whether every grant of `wanted` is part of one of `own`. Careful rather than clever: a pattern is part of another one when it is
    the same, or when the other one is `**`, or when it is a plain name that the other one matches."""

    def narrower(pattern: str, other: str) -> bool:
        return other in ("**", pattern) or ("*" not in pattern and matches(other, pattern))

    return all(
        any(
            set(grant["verbs"]) <= set(other["verbs"])
            and narrower(grant["room"], other["room"])
            and all(any(narrower(topic, own_topic) for own_topic in other["topics"]) for topic in grant["topics"])
            for other in own.to_wire()
        )
        for grant in wanted.to_wire()
    )


def load_key(file: Path) -> bytes:
    """The signing key of a broker that keeps its data on disk; made at the first start, mode 0600.

    Raises:
        CannotStart
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file.exists():
        return _read_key(file)
    key = new_key()
    write_private(file, key)
    return key


def _read_key(file: Path) -> bytes:
    try:
        key, mode = file.read_bytes(), stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        raise CannotStart(f"cannot read {file}: {error.strerror}") from None
    if mode & 0o077:
        raise CannotStart(f"{file} can be read by others. If nobody did: chmod 600 {file}. Otherwise delete it: all tokens end.")
    if len(key) != KEY_BYTES:
        raise CannotStart(f"{file} does not hold a key of {KEY_BYTES} bytes. Delete it to make a new one: all tokens end.")
    return key


def new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)
