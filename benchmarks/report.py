"""The figures as Markdown."""

from __future__ import annotations

from .contenders import ALL
from .round_trip import Figure, Sample, Samples
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


def milliseconds(taken: dict[str, list[float]], what: str) -> str:
    lines = [f"| {what} | ms, median (min-max) |", "|---|---|"]
    lines += [f"| {name} | {figure(Figure.of(values), 2)} |" for name, values in taken.items()]
    return "\n".join([*lines, ""])


def percentiles(taken: dict[str, list[float]], what: str) -> str:
    lines = [f"| {what} | commits | p50, ms | p99, ms | longest, ms |", "|---|---|---|---|---|"]
    for name, values in taken.items():
        found = sorted(values)
        cells = [f"{len(found):,}", *(f"{found[int((len(found) - 1) * part)]:.2f}" for part in (0.5, 0.99, 1.0))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def table(title: str, rows: dict[str, float]) -> str:
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {name} | {value:,.2f} |" for name, value in rows.items()), ""])


def figure(value: Figure, digits: int) -> str:
    return f"{value.median:,.{digits}f} ({value.low:,.{digits}f}-{value.high:,.{digits}f})"


def _cell(samples: list[Sample], field: str, digits: int) -> str:
    return figure(Figure.of([getattr(sample, field) for sample in samples]), digits)


def _median(samples: list[Sample], field: str) -> float:
    return Figure.of([getattr(sample, field) for sample in samples]).median
