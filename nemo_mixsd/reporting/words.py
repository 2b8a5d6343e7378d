"""How numbers are written in a report. A figure that was not measured is a dash, never 0."""

from __future__ import annotations

DASH = "–"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits."""
    return DASH if value is None else f"{value:.{digits}f}"


def short(value: float | None) -> str:
    """A number of any size, with four digits that count."""
    return DASH if value is None else f"{value:.4g}"


def count(value: float | None) -> str:
    """A whole number, thousands set apart."""
    return DASH if value is None else f"{round(value):,}".replace(",", " ")


def plural(n: int, one: str, many: str | None = None) -> str:
    """``1 run``, ``2 runs``."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Header and rows as lines of Markdown; cells are taken as they are."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
