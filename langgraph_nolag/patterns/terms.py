"""What is asked of a task whatever it is about: who may take it, and when, how often and how many of its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..client.names import names


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a task waits after an attempt that failed: `initial`, then `factor` times as long each time, `maximum` at most.

    Attributes:
        initial, maximum: seconds.
        factor: 1 or more.
        jitter: by which part of itself a wait is longer or shorter by chance, 0 to 1.
    """

    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 60.0
    jitter: float = 0.1


def terms_to_wire(
    *,
    capabilities: Sequence[str],
    preferred: str | None,
    priority: int,
    timeout: float | None,
    attempt_timeout: float | None,
    max_attempts: int,
    retry: Retry | Mapping[str, float] | None,
    concurrency_key: str | None,
    concurrency_limit: int,
    rate_key: str | None,
    rate_limit: tuple[int, float] | None,
) -> dict[str, Any]:
    """As the protocol has it; what is the broker's default is left out."""
    fields: dict[str, Any] = {}
    if capabilities:
        fields["capabilities"] = names(capabilities, "capabilities")
    if preferred is not None:
        fields["preferred"] = preferred
    if priority != 0:
        fields["priority"] = priority
    if timeout is not None:
        fields["timeout"] = timeout
    if attempt_timeout is not None:
        fields["attempt_timeout"] = attempt_timeout
    if max_attempts != 3:
        fields["max_attempts"] = max_attempts
    if concurrency_key is not None:
        fields["concurrency_key"] = concurrency_key
    if concurrency_limit != 1:
        fields["concurrency_limit"] = concurrency_limit
    if retry is not None:
        fields["retry"] = asdict(retry) if isinstance(retry, Retry) else retry
    if rate_key is not None:
        fields["rate_key"] = rate_key
    if rate_limit is not None:
        fields["rate_limit"] = list(rate_limit) if isinstance(rate_limit, tuple) else rate_limit
    return fields
