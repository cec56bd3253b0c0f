"""What can be asked about the blackboard, and about records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .command import Command
from .fields import Body, Flag, Lease, Limit, Name, Pattern, Sequence, listed, read_put, read_record_key, read_scan_prefix

RecordKey = Annotated[str, read_record_key]


@dataclass(slots=True)
class BlackboardGet(Command):
    op = "blackboard.get"
    key: Name


@dataclass(slots=True)
class BlackboardList(Command):
    op = "blackboard.list"
    pattern: Pattern = "**"
    bodies: Flag = True


@dataclass(slots=True)
class BlackboardSet(Command):
    op = "blackboard.set"
    once = True
    key: Name
    body: Body
    ct: Name | None = None
    expected: Sequence | None = None
    mid: Name | None = None
    parent: Sequence | None = None
    lease: Lease | None = None


@dataclass(slots=True)
class BlackboardDelete(Command):
    op = "blackboard.delete"
    once = True
    key: Name
    expected: Sequence | None = None
    mid: Name | None = None
    lease: Lease | None = None


@dataclass(slots=True)
class BlackboardHistory(Command):
    op = "blackboard.history"
    key: Name
    limit: Limit = 20


@dataclass(slots=True)
class RecordWrite(Command):
    op = "record.write"
    once = True
    puts: Annotated[tuple[tuple[str, bytes, bool], ...], listed(read_put)] = ()
    deletes: Annotated[tuple[str, ...], listed(read_record_key)] = ()
    delete_prefixes: Annotated[tuple[str, ...], listed(read_record_key)] = ()
    lease: Lease | None = None


@dataclass(slots=True)
class RecordRead(Command):
    op = "record.read"
    keys: Annotated[tuple[str, ...], listed(read_record_key)]


@dataclass(slots=True)
class RecordScan(Command):
    op = "record.scan"
    prefix: Annotated[str, read_scan_prefix]
    after: RecordKey | None = None
    before: RecordKey | None = None
    reverse: Flag = False
    limit: Limit = 100
    bodies: Flag = True
    since: Sequence | None = None
    epoch: Name | None = None
