"""SimpleQA (Wei et al., 2024): 4,326 short factual questions, from the hub or from the official CSV."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nemo_mixsd.corpora.base import CorpusConfig
from nemo_mixsd.corpora.columns import Row, kind
from nemo_mixsd.corpora.judge import (
    MATCHING,
    Judge,
    JudgeError,
    MatchingJudge,
    Verdict,
    declines,
    judge_response,
    load_judge,
)
from nemo_mixsd.corpora.rowset import RowCorpus
from nemo_mixsd.corpora.sources import HubName, hub_rows, load_hub, read_csv
from nemo_mixsd.errors import CorpusError, shown

__all__ = [
    "EXPECTED_ROWS",
    "Judge",
    "JudgeError",
    "MatchingJudge",
    "SimpleQAConfig",
    "SimpleQACorpus",
    "Verdict",
    "declines",
    "judge_response",
    "load_judge",
]

EXPECTED_ROWS = 4326
"""Questions in the full set."""

_WANTED = (("metadata", "subject and answer_type"), ("problem", "question"), ("answer", "answer"))


class SimpleQAConfig(CorpusConfig):
    """SimpleQA from the hub, or from a local copy of ``simple_qa_test_set.csv``."""

    name: Literal["simpleqa"] = "simpleqa"
    """This corpus."""
    path: str | None = None
    """The official CSV; null reads ``dataset`` from the hub."""
    dataset: str = "basicv8vc/SimpleQA"
    """A dataset of the hub with the official CSV's columns."""
    hub_split: str = "test"
    """The split of ``dataset`` that is read."""
    limit: int | None = Field(default=None, ge=1)
    """Train on at most so many questions, a random subset in file order; null for all."""
    seed: int = 0
    """Chooses the subset of ``limit``."""
    allow_partial: bool = False
    """Accept a source that does not have exactly 4,326 rows."""
    judge: str = MATCHING
    """Who grades responses: ``matching``, or ``package.module:attribute`` of your own."""


class SimpleQACorpus(RowCorpus[SimpleQAConfig]):
    """One split, ``train``; ``subject`` is the topic. Every training question is also what is evaluated."""

    config_type = SimpleQAConfig
    key = "simpleqa"
    _dataset: Any = None

    def rows(self) -> Iterator[Row]:
        """The rows of the source under our field names.

        Raises:
            CorpusError: Also where the number of rows is not that of the full set and ``allow_partial`` is off.
        """
        count = 0
        for raw in self._raw_rows(_WANTED):
            count += 1
            topic, answer_type = _metadata(raw)
            values = {
                "id": f"simpleqa-{count}",
                "question": raw.values["problem"],
                "answer": raw.values["answer"],
                "subject": topic,
                "answer_type": answer_type,
            }
            yield Row(raw.where, raw.number, values)
        if count != EXPECTED_ROWS and not self.config.allow_partial:
            raise CorpusError(
                f"{self.source()}: {count} rows, but SimpleQA has {EXPECTED_ROWS}; the download may be incomplete: "
                "fetch it again, or set 'allow_partial: true' if this is the set you mean"
            )

    def source(self) -> str:
        """The path, or the name of the dataset."""
        return self.config.path or str(self._hub_name())

    def limit_and_seed(self) -> tuple[int | None, int]:
        """``corpus.limit`` and ``corpus.seed``."""
        return self.config.limit, self.config.seed

    def make_judge(self) -> Judge:
        """The judge that ``corpus.judge`` names.

        Raises:
            ConfigError: It cannot be loaded.
        """
        return load_judge(self.config.judge)

    def _hub_name(self) -> HubName:
        return HubName(self.config.dataset, None, self.config.hub_split)

    def _raw_rows(self, wanted: Sequence[tuple[str, str]]) -> Iterator[Row]:
        if self.config.path is not None:
            return read_csv(Path(self.config.path), ",", '"', wanted)
        if self._dataset is None:
            self._dataset = load_hub(self._hub_name())
        return hub_rows(self._hub_name(), self._dataset, wanted)


def _metadata(row: Row) -> tuple[str, str]:
    """Topic and answer type from the ``metadata`` column: a Python dict written as text, or a struct."""
    value = row.values["metadata"]
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise CorpusError(
                f"{row.where}: column 'metadata' is {shown(value)}, no Python dict ({type(error).__name__}); "
                "use the official file as it is"
            ) from error
    if not isinstance(value, Mapping):
        raise CorpusError(
            f"{row.where}: column 'metadata' is {shown(value)}, {kind(value)}; it must be a dict with 'topic' and "
            "'answer_type'"
        )
    return _label(row, value, "topic"), _label(row, value, "answer_type")


def _label(row: Row, metadata: Mapping[str, object], name: str) -> str:
    if name not in metadata:
        raise CorpusError(
            f"{row.where}: column 'metadata' has no {name!r}, only {', '.join(map(str, metadata)) or 'nothing'}; "
            "use the official file as it is"
        )
    value = metadata[name]
    if not isinstance(value, str):
        raise CorpusError(
            f"{row.where}: {name!r} in column 'metadata' is {shown(value)}, {kind(value)}; it must be a string"
        )
    return value
