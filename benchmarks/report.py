"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .checkpoints import LOADS, Found
from .contenders import ALL
from .round_trip import Figure, Samples
from .savers import SAVERS
from .shapes import SHAPES


def round_trips(samples: Samples, what: str = "task") -> str:
    """A table a shape: medians with min-max, and the ratio of the first contender to each of the others."""
    contenders = list(dict.fromkeys(key for key, _ in samples))
    lines = []
    for name, shape in SHAPES.items():
        ours = samples.get((contenders[0], name))
        if ours is None and not any(shape == name for _, shape in samples):
            continue
        lines += [f"### {shape.title.capitalize()}", ""]
        lines += [f"| | durability | {what}s/s | ours is | p50, ms | p99, ms | server CPU, µs a {what} |", "|---|---|---|---|---|---|---|"]
        for key in contenders:
            if (found := samples.get((key, name))) is not None:
                ratio = f"{_median(ours, 'rate') / _median(found, 'rate'):.2f}×" if ours and key != contenders[0] else ""
                cells = [ALL[key].name, ALL[key].durability, _cell(found, "rate", 0), ratio]
                cells += [_cell(found, "p50", 2), _cell(found, "p99", 2), _cell(found, "cpu", 0)]
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def checkpoint_tables(found: Found) -> str:
    """A table a load: medians with min-max, and our ratio to each of the others."""
    lines = []
    for name, load in LOADS.items():
        lines += [f"### {load.title}", ""]
        lines += ["| | durability | put and get, a second | ours is | p50, ms | ours is | p99, ms |", "|---|---|---|---|---|---|---|"]
        ours = found.get(("nolag", name))
        for key in dict.fromkeys(key for key, _ in found):
            stored = found[key, name]
            compared = ours is not None and key != "nolag"
            ratios = [f"{_median(ours, field) / _median(stored, field):.2f}×" if compared else "" for field in ("rate", "p50")]
            cells = [SAVERS[key].name, SAVERS[key].durability, _cell(stored, "rate", 0), ratios[0]]
            cells += [_cell(stored, "p50", 2), ratios[1], _cell(stored, "p99", 2)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def seconds_beside(taken: dict[str, list[float]], ideal: float, what: str) -> str:
    lines = [f"| {what} | s, median (min-max) | beside {ideal:g} s, if handing out cost nothing |", "|---|---|---|"]
    for name, values in taken.items():
        found = Figure.of(values)
        lines.append(f"| {name} | {figure(found, 2)} | {found.median / ideal:.2f}× |")
    return "\n".join([*lines, ""])


def milliseconds(taken: dict[str, list[float]], what: str) -> str:
    lines = [f"| {what} | ms, median (min-max) |", "|---|---|"]
    lines += [f"| {name} | {figure(Figure.of(values), 2)} |" for name, values in taken.items()]
    return "\n".join([*lines, ""])


def percentiles(taken: dict[str, list[float]], what: str, counted: str) -> str:
    lines = [f"| {what} | {counted} | p50, ms | p99, ms | longest, ms |", "|---|---|---|---|---|"]
    for name, values in taken.items():
        found = sorted(values)
        cells = [f"{len(found):,}", *(f"{found[int((len(found) - 1) * part)]:.2f}" for part in (0.5, 0.99, 1.0))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def table(title: str, rows: dict[str, float]) -> str:
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {name} | {value:,.2f} |" for name, value in rows.items()), ""])


def figure(value: Figure, digits: int) -> str:
    return f"{value.median:,.{digits}f} ({value.low:,.{digits}f}-{value.high:,.{digits}f})"


def _cell(samples: Sequence[object], field: str, digits: int) -> str:
    return figure(Figure.of([getattr(sample, field) for sample in samples]), digits)


def _median(samples: Sequence[object], field: str) -> float:
    return Figure.of([getattr(sample, field) for sample in samples]).median
