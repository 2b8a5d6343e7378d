"""What all corpora of rows share: one checking pass over the source, then splits streamed from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.columns import ParsedRow, Row, parse_row
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.randomness import KeyedRandom, digest
from nemo_mixsd.types import Example

C = TypeVar("C", bound=CorpusConfig)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the checking pass found.

    Attributes:
        splits: Names of the splits, ``train`` first.
        chosen: Positions of the chosen rows among the training rows, 0-based; None for all of them.
    """

    splits: tuple[str, ...]
    chosen: frozenset[int] | None


class RowCorpus(Corpus[C]):
    """A corpus whose source is a sequence of rows that can be read more than once.

    The first use reads the whole source and checks every row, so that a wrong line is reported before anything is
    trained on the lines above it. What is kept between passes is one number a row, never the texts.
    """

    key: ClassVar[str]
    """First part of the key of the random subset."""
    _layout: Layout | None = None

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """The rows of the source, in order.

        Raises:
            CorpusError: The source cannot be read.
        """

    @abstractmethod
    def source(self) -> str:
        """The source as errors name it."""

    @abstractmethod
    def limit_and_seed(self) -> tuple[int | None, int]:
        """How many training rows to take (None: all) and the seed that chooses them."""

    def split_names(self) -> tuple[str, ...]:
        """``train``, then ``paraphrase`` and any other split, in the order in which the source first names them."""
        return self.layout().splits

    def iter_split(self, split: str) -> Iterator[Example]:
        """Stream one split in the order of the source.

        Raises:
            CorpusError: No such split, or a row is wrong; the text names its place.
        """
        if split not in self.split_names():
            raise self._unknown_split(split)
        return self._stream(split)

    def layout(self) -> Layout:
        """The result of the checking pass, made once."""
        if self._layout is None:
            self._layout = self._check()
        return self._layout

    def _stream(self, split: str) -> Iterator[Example]:
        chosen = self.layout().chosen
        position = -1
        for parsed in map(parse_row, self.rows()):
            if parsed.example.split == "train":
                position += 1
                if chosen is not None and position not in chosen:
                    continue
            if parsed.example.split == split:
                yield parsed.example
            if split == "paraphrase":
                yield from parsed.paraphrase_examples()

    def _check(self) -> Layout:
        seen: dict[int, str] = {}
        others: dict[str, None] = {}
        with_paraphrases: list[int] = []
        train = 0
        total = 0
        for parsed in map(parse_row, self.rows()):
            total += 1
            _refuse_twice(parsed, seen)
            if parsed.example.split != "train":
                others[parsed.example.split] = None
                continue
            if parsed.paraphrases:
                with_paraphrases.append(train)
            train += 1
        if not total:
            raise CorpusError(f"{self.source()}: no examples in it; give at least one question with its answer")
        if not train:
            raise CorpusError(
                f"{self.source()}: no row of split 'train', only of {', '.join(others)}; "
                "remove the field 'split' to train on the rows"
            )
        chosen = self._choose(train)
        if any(chosen is None or i in chosen for i in with_paraphrases):
            others = {"paraphrase": None, **others}
        return Layout(("train", *others), chosen)

    def _choose(self, train: int) -> frozenset[int] | None:
        limit, seed = self.limit_and_seed()
        if limit is None or limit >= train:
            return None
        return frozenset(KeyedRandom(self.key, "limit", seed).sample(range(train), limit))


def _refuse_twice(parsed: ParsedRow, seen: dict[int, str]) -> None:
    for example in (parsed.example, *parsed.paraphrase_examples()):
        key = digest(example.id)
        if key in seen:
            raise CorpusError(
                f"{parsed.where}: id {example.id!r} is taken by {seen[key]}; ids are unique over all splits: "
                "rename one, or leave ids out to have them made"
            )
        seen[key] = parsed.where
