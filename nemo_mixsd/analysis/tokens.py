"""Which tokens of a target are unlikely: their texts, their types, and how many of SFT's a method keeps (Table 9)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nemo_mixsd.analysis.distribution import Z95
from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.io import read_jsonl, write_jsonl
from nemo_mixsd.types import Target

HIGH_NLL = 8.0
"""Nats above which the paper calls a token a high-NLL token (Section 7.2, Table 8)."""

_CUT = "�"
"""What a decoder puts where bytes do not make up a whole character yet."""


@dataclass(frozen=True, slots=True)
class TokenText:
    """The text of each token of a target, kept on disk so that a report needs no tokenizer.

    Attributes:
        example_id: ``Example.id``.
        pieces: One text a token. Joined they are the decoded target with special tokens. A token that ends inside a
            character is empty; the character belongs to the token that completes it.
    """

    example_id: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenType:
    """A token id of the vocabulary and how unlikely it is where it occurs.

    Attributes:
        token_id: The id.
        text: Its text, or ``<id>`` where it has none of its own.
        count: Occurrences above the threshold.
        occurrences: All occurrences.
        mean_nll: Mean over the occurrences above the threshold, in nats.
    """

    token_id: int
    text: str
    count: int
    occurrences: int
    mean_nll: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of what is new in SFT's targets stands in a method's targets too (E.2, Table 9).

    Attributes:
        examples: Examples with a target of either method and at least one high-NLL token in SFT's.
        types: High-NLL token types of SFT's targets, summed over those examples.
        shared: Of these, the ones that the other target of the same example has anywhere.
        mean: Mean over the examples of shared / types; None without an example.
        low: Lower end of the 95 % interval of ``mean``, examples being the sampling unit; None with fewer than two.
        high: Upper end.
    """

    examples: int
    types: int
    shared: int
    mean: float | None
    low: float | None
    high: float | None

    @property
    def pooled(self) -> float | None:
        """``shared / types`` over all examples together."""
        return self.shared / self.types if self.types else None


def token_pieces(decode: Callable[[list[int]], str], token_ids: Sequence[int]) -> tuple[str, ...]:
    """Cut the decoded text of a sequence into one piece a token, in time linear in its length.

    A token's text depends on the tokens before it (leading spaces, characters of several bytes), so each piece is what
    the decoded text of a short window grows by.

    Args:
        decode: Token ids to text, special tokens kept.
        token_ids: ``[T]``.

    Returns:
        ``[T]`` texts.
    """
    pieces: list[str] = []
    start, done = 0, 0
    for end in range(1, len(token_ids) + 1):
        known = decode(list(token_ids[start:done]))
        grown = decode(list(token_ids[start:end]))
        complete = len(grown) > len(known) and not grown.endswith(_CUT)
        if complete or end == len(token_ids):
            pieces.append(grown[len(known) :])
            start, done = done, end
        else:
            pieces.append("")
    return tuple(pieces)


def keep_pieces(decode: Callable[[list[int]], str], targets: Iterable[Target], path: Path) -> None:
    """Write the pieces of every target to ``path``, a ``TokenText`` a line, in the order of ``targets``."""
    write_jsonl(path, (TokenText(t.example_id, token_pieces(decode, t.token_ids)) for t in targets))


def read_pieces(path: Path) -> dict[str, tuple[str, ...]]:
    """Pieces by example id; empty if they were not kept."""
    return {t.example_id: t.pieces for t in read_jsonl(path, TokenText)} if path.is_file() else {}


def high_types(target: Target, nll: Sequence[float], threshold: float = HIGH_NLL) -> set[int]:
    """Token ids of a target with an NLL above the threshold anywhere in it.

    Raises:
        ValueError: The two differ in length.
    """
    if len(nll) != len(target.token_ids):
        raise ValueError(f"target {target.example_id!r}: {len(target.token_ids)} tokens but {len(nll)} of NLL")
    return {token for token, value in zip(target.token_ids, nll, strict=True) if value > threshold}


def overlap(
    sft: Sequence[Target], sft_nll: Sequence[TokenNLL], other: Sequence[Target], threshold: float = HIGH_NLL
) -> Overlap:
    """Share of SFT's high-NLL token types that stand anywhere in the other method's target of the same example.

    Examples that the other method discarded, or whose SFT target has no high-NLL token, are left out.
    """
    scores = {record.example_id: record.nll for record in sft_nll}
    others = {target.example_id: set(target.token_ids) for target in other}
    fractions: list[float] = []
    types = shared = 0
    for target in sft:
        if target.example_id not in others or target.example_id not in scores:
            continue
        high = high_types(target, scores[target.example_id], threshold)
        if not high:
            continue
        kept = len(high & others[target.example_id])
        types, shared = types + len(high), shared + kept
        fractions.append(kept / len(high))
    mean = sum(fractions) / len(fractions) if fractions else None
    if mean is None or len(fractions) < 2:
        return Overlap(len(fractions), types, shared, mean, None, None)
    variance = sum((f - mean) ** 2 for f in fractions) / (len(fractions) - 1)
    half = Z95 * math.sqrt(variance / len(fractions))
    return Overlap(len(fractions), types, shared, mean, max(0.0, mean - half), min(1.0, mean + half))


def unlikely_types(
    targets: Sequence[Target],
    nll: Sequence[TokenNLL],
    pieces: Mapping[str, Sequence[str]],
    threshold: float = HIGH_NLL,
) -> list[TokenType]:
    """The high-NLL token types of a set of targets, most frequent first, then the unlikeliest."""
    scores = {record.example_id: record.nll for record in nll}
    high: dict[int, list[float]] = defaultdict(list)
    seen: dict[int, int] = defaultdict(int)
    texts: dict[int, str] = {}
    for target in targets:
        values = scores.get(target.example_id)
        if values is None:
            continue
        names = pieces.get(target.example_id, ("",) * len(target.token_ids))
        for token, value, text in zip(target.token_ids, values, names, strict=True):
            seen[token] += 1
            if text and token not in texts:
                texts[token] = text
            if value > threshold:
                high[token].append(value)
    types = [TokenType(t, texts.get(t, f"<{t}>"), len(v), seen[t], sum(v) / len(v)) for t, v in high.items()]
    return sorted(types, key=lambda t: (-t.count, -t.mean_nll, t.token_id))


def overlap_record(run_dir: Path, name: str) -> dict[str, float | int | None]:
    """The overlap of a run's method with its SFT targets for ``report.json``; empty where it cannot be measured."""
    sft, other = run_dir / "targets" / "sft.jsonl", run_dir / "targets" / f"{name}.jsonl"
    scored = run_dir / "analysis" / "target_nll" / "sft.jsonl"
    if name == "sft" or not (sft.is_file() and other.is_file() and scored.is_file()):
        return {}
    found = overlap(list(read_jsonl(sft, Target)), list(read_jsonl(scored, TokenNLL)), list(read_jsonl(other, Target)))
    return {
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "pooled": found.pooled,
        "examples": found.examples,
        "types": found.types,
    }
