"""A little SVG: axes with round ticks, lines, points, labels that keep out of each other's way.

Colours and fonts come from the page's style sheet (classes ``m0`` ... ``m9``), so that a figure follows light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 440, 300
"""Units of the view box; text is 12 units, legible when a phone shows the figure 340 pixels wide."""
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 42
_CHAR = 6.4


def colour(name: str, names: Sequence[str]) -> str:
    """The colour class of a method: base and SFT have their own, the others take turns in order."""
    if name in ("base", "sft"):
        return {"base": "m0", "sft": "m1"}[name]
    others = [n for n in names if n not in ("base", "sft")]
    return f"m{2 + others.index(name) % 8}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most`` of them (two at least where they fit)."""
    if not high > low:
        return [low]
    raw = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick's number, without a tail of zeros."""
    return f"{value:.6g}"


@dataclass
class Panel:
    """One pair of axes in a figure, and what is drawn in it.

    Attributes:
        x: Lowest and highest value.
        y: Lowest and highest value.
        labels: What is written on the two axes.
        top: Upper edge in the view box.
        height: Height with labels.
        width: Width of the whole figure.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    labels: tuple[str, str]
    top: float = 0
    height: float = HEIGHT
    width: float = WIDTH
    parts: list[str] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)

    def px(self, x: float) -> float:
        """Horizontal place of a value."""
        low, high = self.x
        return LEFT + (x - low) / ((high - low) or 1) * (self.width - LEFT - RIGHT)

    def py(self, y: float) -> float:
        """Vertical place of a value."""
        low, high = self.y
        bottom = self.top + self.height - BOTTOM
        return bottom - (y - low) / ((high - low) or 1) * (self.height - BOTTOM - TOP)

    def axes(self) -> str:
        """Grid, ticks and labels."""
        left, right = self.px(self.x[0]), self.px(self.x[1])
        bottom, top = self.py(self.y[0]), self.py(self.y[1])
        out = []
        for value in ticks(*self.y):
            y = self.py(value)
            out.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
            out.append(
                f'<text class="tick" x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick_text(value)}</text>'
            )
        for value in ticks(*self.x):
            x = self.px(value)
            out.append(f'<path class="grid" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
            out.append(
                f'<text class="tick" x="{x:.1f}" y="{bottom + 15:.1f}" text-anchor="middle">{tick_text(value)}</text>'
            )
        middle_x, middle_y = (left + right) / 2, (bottom + top) / 2
        out.append(
            f'<text class="axis" x="{middle_x:.1f}" y="{bottom + 33:.1f}" text-anchor="middle">'
            f"{escape(self.labels[0])}</text>"
        )
        out.append(
            f'<text class="axis" transform="translate(12 {middle_y:.1f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.labels[1])}</text>"
        )
        return "".join(out)

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """A polyline through points; nothing for fewer than two."""
        if len(points) > 1:
            path = "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in points)
            self.parts.append(f'<path class="line {css}" d="M{path}"/>')

    def steps(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """A step function that jumps to each point's height at the point, cut at the right edge."""
        right = self.x[1]
        path = f"M{self.px(self.x[0]):.1f} {self.py(0):.1f}"
        for x, y in points:
            if x > right:
                break
            path += f"H{self.px(x):.1f}V{self.py(y):.1f}"
        self.parts.append(f'<path class="line {css}" d="{path}H{self.px(right):.1f}"/>')

    def point(self, place: tuple[float, float], css: str, tip: str, shape: int = 0) -> None:
        """A marker with a text that shows when it is pointed at."""
        x, y = self.px(place[0]), self.py(place[1])
        self.parts.append(f'<g class="dot {css}">{marker(x, y, shape)}<title>{escape(tip)}</title></g>')
        self.boxes.append((x - 5, y - 5, x + 5, y + 5))

    def label(self, place: tuple[float, float], text: str) -> None:
        """A text beside a point, where it meets no other; left out where there is no such place."""
        x, y = self.px(place[0]), self.py(place[1])
        wide = len(text) * _CHAR
        for dx, dy, anchor in ((9, 4, "start"), (0, -10, "middle"), (0, 19, "middle"), (-9, 4, "end")):
            start = x + dx - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
            box = (start, y + dy - 10, start + wide, y + dy + 2)
            inside = box[0] > LEFT and box[2] < self.width and box[1] > self.top and box[3] < self.py(self.y[0]) + 2
            if inside and not any(_overlap(box, other) for other in self.boxes):
                self.boxes.append(box)
                self.parts.append(
                    f'<text class="label" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">'
                    f"{escape(text)}</text>"
                )
                return

    def rule(self, text: str, x: float | None = None, y: float | None = None, css: str = "") -> None:
        """A dashed line across the panel at one value, with its name."""
        if x is not None:
            at = self.px(x)
            self.parts.append(
                f'<path class="rule {css}" d="M{at:.1f} {self.py(self.y[0]):.1f}V{self.py(self.y[1]):.1f}"/>'
                f'<text class="tick" x="{at + 4:.1f}" y="{self.py(self.y[0]) - 6:.1f}">{escape(text)}</text>'
            )
        if y is not None:
            at = self.py(y)
            self.parts.append(
                f'<path class="rule {css}" d="M{self.px(self.x[0]):.1f} {at:.1f}H{self.px(self.x[1]):.1f}"/>'
                f'<text class="tick" x="{self.px(self.x[1]) - 2:.1f}" y="{at - 4:.1f}" text-anchor="end">'
                f"{escape(text)}</text>"
            )

    def svg(self) -> str:
        """Axes below, drawings above."""
        return self.axes() + "".join(self.parts)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def marker(x: float, y: float, shape: int = 0) -> str:
    """A circle, square, triangle or diamond: one shape a run."""
    if shape % 4 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    if shape % 4 == 1:
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    if shape % 4 == 2:
        return f'<path d="M{x:.1f} {y - 6:.1f}l5.5 10h-11z"/>'
    return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'


def figure(identity: str, title: str, note: str, body: str, legend: str = "", height: float = HEIGHT) -> str:
    """An HTML figure around an SVG body, with a caption and an accessible name."""
    return (
        f'<figure id="{escape(identity)}"><figcaption><b>{escape(title)}</b> {escape(note)}</figcaption>'
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height:g}" '
        f'preserveAspectRatio="xMidYMid meet">{body}</svg>{legend}</figure>\n'
    )


def legend(names: Sequence[tuple[str, str, int]]) -> str:
    """A legend as text that flows: (name, colour class, marker shape)."""
    items = "".join(
        f'<li><svg viewBox="0 0 14 14" aria-hidden="true"><g class="dot {css}">{marker(7, 7, shape)}</g></svg>'
        f"{escape(name)}</li>"
        for name, css, shape in names
    )
    return f'<ul class="legend">{items}</ul>'


def padded(values: Sequence[float], share: float = 0.08, floor: float | None = None) -> tuple[float, float]:
    """The range of values with some room on both sides; ``floor`` is a value that the range has to reach down to."""
    low, high = min(values), max(values)
    if floor is not None:
        low = min(low, floor)
    room = (high - low) * share or max(abs(high), 1.0) * share
    return low - room, high + room
