"""What the figures were taken on, and what its disk costs at that moment."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import psutil


def describe() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{psutil.cpu_count()} cores of {model}, {memory:.0f} GiB, {system}"


def fdatasync_ms(folder: Path, times: int = 100) -> float:
    """The median of appending 4 KiB and fdatasync, in milliseconds."""
    sync = getattr(os, "fdatasync", os.fsync)
    taken = []
    file = os.open(folder / "fdatasync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(times):
            start = time.perf_counter()
            os.write(file, b"\0" * 4096)
            sync(file)
            taken.append(time.perf_counter() - start)
    finally:
        os.close(file)
    return statistics.median(taken) * 1000
