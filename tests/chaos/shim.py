"""The shim under a broker's database, built when it is asked for, and what it recorded."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("disk_shim.c")


def missing() -> str | None:
    """What is not here that it needs."""
    if sys.platform != "linux":
        return "Linux"
    return None if shutil.which("gcc") else "gcc"


def build(folder: Path) -> str:
    library = folder / "disk_shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
    return str(library)


class Entry(NamedTuple):
    """One thing that was done to a file: `kind` is w(ritten), s(ynced), t(runcated) or u(nlinked)."""

    kind: str
    file: str
    at: int
    data: bytes
    end: int  # of the record, in bytes, once it was done


def entries(record: Path) -> Iterator[Entry]:
    content = memoryview(record.read_bytes())
    position = 0
    while position < len(content):
        kind, file, at, count = struct.unpack_from("<ccQQ", content, position)
        data = bytes(content[position + 18 : position + 18 + count])
        position += 18 + count
        yield Entry(kind.decode(), file.decode(), at, data, position)
