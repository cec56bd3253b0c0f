"""Items, as the broker tells them and as LangGraph has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from langgraph.store.base import Item, SearchItem

from ...client.body import decode, encode
from ...errors import NotEncodable

Told = Mapping[str, Any]
"""An item, as in the protocol."""


def encode_value(value: Mapping[str, Any]) -> bytes:
    """The body of an item.

    Raises:
        NotEncodable: names the path to what is not plain, or to a key that is not a text.
    """
    plain = dict(value)
    _check_keys(plain)
    return encode(plain)


def _check_keys(value: Any) -> None:
    stack = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            for key, child in item.items():
                if type(key) is not str:
                    where = path or "the top"
                    raise NotEncodable(f"can't encode a {type(key).__name__} as a key at {where}: keys in the store's values are texts")
                if isinstance(child, (dict, list, tuple)):
                    stack.append((f"{path}.{key}", child))
        else:
            stack.extend((f"{path}[{index}]", child) for index, child in enumerate(item) if isinstance(child, (dict, list, tuple)))


def value_of(told: Told) -> Any:
    """Raises `NotDecodable`."""
    return decode(told["body"], told.get("ct"))


def item_of(told: Told) -> Item:
    return Item(**_fields(told))


def found_of(told: Told) -> SearchItem:
    return SearchItem(**_fields(told), score=told.get("score"))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _fields(told: Told) -> dict[str, Any]:
    *namespace, key = told["path"]
    return {
        "namespace": tuple(namespace),
        "key": key,
        "value": value_of(told),
        "created_at": moment(told["created"]),
        "updated_at": moment(told["updated"]),
    }
