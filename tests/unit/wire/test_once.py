from nolag_broker.core.commands import COMMANDS
from nolag_broker.wire.once import APPLIED_ONCE


def test_both_sides_know_which_requests_are_applied_once() -> None:
    assert {op for op, command in COMMANDS.items() if command.once} == APPLIED_ONCE
