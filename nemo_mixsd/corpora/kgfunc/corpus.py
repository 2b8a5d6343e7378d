"""KGFunc: learn the rule behind an opaque label from ten solved inputs, and apply it to one more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.kgfunc.compositions import compose, pair_counts
from nemo_mixsd.corpora.kgfunc.config import KGFuncConfig
from nemo_mixsd.corpora.kgfunc.inputs import InputPool
from nemo_mixsd.corpora.kgfunc.operation import Operation
from nemo_mixsd.corpora.kgfunc.prompts import Shot, write_question
from nemo_mixsd.corpora.kgfunc.trained import OPERATIONS
from nemo_mixsd.corpora.kgfunc.unseen import UNSEEN_OPERATIONS
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.types import Example, PromptStyle, VerifierName

_MAX_DRAWS = 200
_RIVALS = (*OPERATIONS.values(), *UNSEEN_OPERATIONS.values())


@dataclass(frozen=True, slots=True)
class _Series:
    """The instances of one operation in one split: their query inputs in order, and where the shots come from."""

    operation: Operation
    labels: tuple[str, ...]
    queries: list[int]
    shot_pool: InputPool


class KGFuncCorpus(Corpus[KGFuncConfig]):
    """Splits ``train``, ``test``, ``unseen`` and ``composition``; a split of no instances is not there.

    For each operation the query inputs of ``test`` and the inputs of compositions that begin with it are drawn first
    and never appear in its training, neither as query nor among the shots. So neither evaluation split changes with
    the size of ``train``.
    """

    config_type: ClassVar[type[CorpusConfig]] = KGFuncConfig
    prompt_style: ClassVar[PromptStyle] = "solution"
    verifier: ClassVar[VerifierName] = "boxed"

    def split_names(self) -> tuple[str, ...]:
        """``train``, and those of ``test``, ``unseen`` and ``composition`` that have instances."""
        c = self.config
        sizes = {
            "test": c.test_per_operation,
            "unseen": c.unseen_per_operation,
            "composition": c.composition_count if len(c.operations) > 1 else 0,
        }
        return ("train", *(name for name, size in sizes.items() if size))

    def iter_split(self, split: str) -> Iterator[Example]:
        """Stream one split, the operations taking turns.

        Raises:
            CorpusError: No such split, too many inputs asked for, or too few shots to tell the operations apart.
        """
        if split not in self.split_names():
            raise self._unknown_split(split)
        plan = {"train": self._train, "test": self._test, "unseen": self._unseen, "composition": self._composition}
        series = plan[split]()
        for i in range(max(len(s.queries) for s in series)):
            for s in series:
                if i < len(s.queries):
                    yield self._example(split, s, i)

    def _train(self) -> list[_Series]:
        series = []
        for label, count in self.config.train_counts().items():
            held_out = {*self._test_queries(label), *self._composition_queries(label)}
            pool = InputPool(held_out)
            queries = pool.draw(self._rng("train", label, "queries"), count)
            series.append(_Series(OPERATIONS[label], (label,), queries, pool))
        return series

    def _test(self) -> list[_Series]:
        series = []
        for label in self.config.operations:
            queries = self._test_queries(label)
            series.append(_Series(OPERATIONS[label], (label,), queries, InputPool(queries)))
        return series

    def _unseen(self) -> list[_Series]:
        series = []
        for label, operation in UNSEEN_OPERATIONS.items():
            rng = self._rng("unseen", label, "queries")
            queries = InputPool().draw(rng, self.config.unseen_per_operation, share=0.5)
            series.append(_Series(operation, (label,), queries, InputPool(queries)))
        return series

    def _composition(self) -> list[_Series]:
        series, left = [], {first: iter(self._composition_queries(first)) for first in self.config.operations}
        for (first, second), count in self._pair_counts().items():
            queries = [next(left[first]) for _ in range(count)]
            operation = compose(OPERATIONS[first], OPERATIONS[second])
            series.append(_Series(operation, (first, second), queries, InputPool(queries)))
        return series

    def _test_queries(self, label: str) -> list[int]:
        rng = self._rng("test", label, "queries")
        return InputPool().draw(rng, self.config.test_per_operation, share=0.5)

    def _composition_queries(self, first: str) -> list[int]:
        """Inputs of all compositions that begin with ``first``; of one digit there are too few to hold any out."""
        count = sum(size for (x, _), size in self._pair_counts().items() if x == first)
        rng = self._rng("composition", first, "queries")
        return InputPool(self._test_queries(first)).draw(rng, count, share=0.25, shortest=2)

    def _pair_counts(self) -> dict[tuple[str, str], int]:
        return pair_counts(self.config.operations, self.config.composition_count)

    def _example(self, split: str, series: _Series, index: int) -> Example:
        operation, query = series.operation, series.queries[index]
        shots = self._shots(split, series, index)
        solution = operation.explain(query)
        infix = "" if split == "train" else f"{split}-"
        return Example(
            id=f"kgfunc-{infix}{''.join(series.labels)}-{index:06d}",
            question=write_question(series.labels, shots, query),
            answer=str(operation.apply(query)),
            target=solution,
            context=solution,
            subject=operation.label,
            split=split,
            answer_type="number",
        )

    def _shots(self, split: str, series: _Series, index: int) -> list[Shot]:
        """Solved inputs, drawn again until they single the operation out among all that this corpus knows."""
        for attempt in range(_MAX_DRAWS):
            rng = self._rng(split, *series.labels, index, "shots", attempt)
            inputs = series.shot_pool.draw(rng, self.config.shots, without=series.queries[index])
            shots = [(x, series.operation.apply(x)) for x in inputs]
            if _single_out(series.operation.label, shots):
                return shots
        raise CorpusError(
            f"corpus 'kgfunc': {_MAX_DRAWS} draws of {self.config.shots} shots did not tell operation "
            f"{series.operation.label!r} from the others (split {split!r}, instance {index}). Raise shots"
        )

    def _rng(self, *key: int | str) -> KeyedRandom:
        return KeyedRandom("kgfunc", self.config.seed, *key)


def _single_out(label: str, shots: Sequence[Shot]) -> bool:
    """Whether the outputs differ and no other operation agrees with all shots."""
    if len({y for _, y in shots}) < 2:
        return False
    return all(any(rival.function(x) != y for x, y in shots) for rival in _RIVALS if rival.label != label)
