"""Building blocks of the page. All text is escaped here, at the last moment; ``Html`` marks what is already markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nemo_mixsd.reporting.style import STYLE


class Html(str):
    """Text that is markup and must not be escaped again."""

    __slots__ = ()


Cell = str | Html


def text(value: Cell) -> str:
    """A value as markup: as it is if it is ``Html``, else escaped."""
    return value if isinstance(value, Html) else escape(value)


def table(header: Sequence[Cell], rows: Sequence[Sequence[Cell]], marks: Sequence[str] = (), left: int = 1) -> Html:
    """A table in a box of its own that scrolls sideways where it is wider than the page.

    Args:
        header: One cell a column.
        rows: Each as long as the header.
        marks: A class a row (``sum`` for means); may be empty.
        left: How many columns, from the first on, are text and stand to the left.
    """
    head = "".join(f"<th{_left(i, left)}>{text(cell)}</th>" for i, cell in enumerate(header))
    body = ""
    for n, row in enumerate(rows):
        cells = "".join(f"<td{_left(i, left)}>{text(cell)}</td>" for i, cell in enumerate(row))
        mark = marks[n] if n < len(marks) else ""
        body += f"<tr{f' class={mark}' if mark else ''}>{cells}</tr>\n"
    return Html(
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'
    )


def _left(column: int, left: int) -> str:
    return ' class="text"' if column < left else ""


def section(identity: str, title: str, body: str, level: int = 2) -> str:
    """A headline and what belongs to it; nothing for an empty body."""
    if not body:
        return ""
    return f'<section id="{escape(identity)}"><h{level}>{escape(title)}</h{level}>\n{body}</section>\n'


def paragraph(value: Cell, css: str = "") -> str:
    """A paragraph."""
    return f"<p{f' class={css}' if css else ''}>{text(value)}</p>\n"


def folded(summary: str, body: str) -> str:
    """Something that opens when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}</details>\n"


def page(title: str, links: Sequence[tuple[str, str]], body: str) -> str:
    """The whole document. Its policy forbids every request, so that nothing can be fetched by mistake."""
    nav = "".join(f'<a href="#{escape(identity)}">{escape(name)}</a>' for identity, name in links)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n'
        f"<body><main>\n<nav>{nav}</nav>\n{body}</main></body></html>\n"
    )
