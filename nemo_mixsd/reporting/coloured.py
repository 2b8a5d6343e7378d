"""Targets token by token: coloured by how unlikely the base model finds each, naive tokens underlined."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nemo_mixsd.reporting.collect import RunView
from nemo_mixsd.reporting.words import plural
from nemo_mixsd.types import Example, Target

LONGEST = 400
"""Tokens of a target that are shown."""


def coloured_targets(run: RunView, limit: int) -> str:
    """The first examples of a run, each with the targets of every method.

    Args:
        run: Its targets, their NLL and the texts of their tokens.
        limit: How many examples are shown; a notice says how many are left out.
    """
    names = [name for name in run.names if run.pieces.get(name) or run.nll.get(name)]
    if not names or not run.examples:
        return ""
    targets = {name: {t.example_id: t for t in run.targets[name]} for name in names}
    scores = {name: {r.example_id: r.nll for r in run.nll.get(name, ())} for name in names}
    shown = run.examples[:limit]
    out = scale()
    bare = [name for name in names if not run.pieces.get(name)]
    if bare:
        out += (
            f'<p class="notice">The texts of single tokens were not kept for {escape(", ".join(bare))}, by an older '
            "version; ids stand in their place. <code>nemo-mixsd report</code> adds them where the tokenizer is at "
            "hand.</p>\n"
        )
    for example in shown:
        lines = "".join(
            line(
                name,
                targets[name].get(example.id),
                scores[name].get(example.id, ()),
                run.pieces.get(name, {}).get(example.id),
            )
            for name in names
        )
        out += f'<div class="tokens">{_question(example)}{lines}</div>\n'
    rest = len(run.examples) - len(shown)
    if rest:
        out += (
            f'<p class="notice">The first {plural(len(shown), "example")} of {len(run.examples)}; '
            f"{rest} are left out here, all stand in <code>targets/</code>.</p>\n"
        )
    return out


def scale() -> str:
    """What the colours and the underlining mean."""
    steps = "".join(f'<i class="h{i}">{i if i < 8 else "8 and more"}</i>' for i in range(9))
    return (
        f'<p class="scale">NLL in nats: {steps}</p>\n<p class="soft"><u>Underlined</u>: decoded by the naive '
        "conditional, which does not know the fact. ⏎ is a line break. Point at a token for its NLL.</p>\n"
    )


def _question(example: Example) -> str:
    return (
        f"<p>{escape(_short(example.question))} <b>{escape(example.answer)}</b> "
        f'<span class="soft">{escape(example.id)}</span></p>'
    )


def _short(value: str, most: int = 600) -> str:
    return value if len(value) <= most else value[: most - 1] + "…"


def line(name: str, target: Target | None, nll: Sequence[float], pieces: Sequence[str] | None) -> str:
    """The target of one method: a label and its tokens.

    Args:
        name: The label.
        target: None if the example was discarded.
        nll: ``[T]`` in nats; empty if it was not measured.
        pieces: ``[T]`` texts of the tokens; None if they were not kept.
    """
    label = f"<span>{escape(name)}</span>"
    if target is None:
        return f'<div>{label}<p class="soft">discarded: no attempt gave the answer</p></div>'
    pieces = pieces or tuple(f"‹{i}› " for i in target.token_ids)
    tokens = "".join(
        token(piece, nll[i] if i < len(nll) else None, target.from_naive[i]) for i, piece in enumerate(pieces[:LONGEST])
    )
    rest = len(pieces) - LONGEST
    more = f'<span class="soft"> … and {plural(rest, "more token")}</span>' if rest > 0 else ""
    return f'<div>{label}<p class="t">{tokens}{more}</p></div>'


def token(piece: str, nll: float | None, naive: bool) -> str:
    """One token as markup."""
    shown = escape(piece.replace("\n", "⏎\n")) if piece else "·"
    if naive:
        shown = f"<u>{shown}</u>"
    if nll is None:
        return f"<i>{shown}</i>"
    level = min(int(nll), 8)
    return f'<i{f" class=h{level}" if level > 0 else ""} title="{nll:.2f}">{shown}</i>'
