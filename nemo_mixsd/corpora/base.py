"""The one interface of all corpora, and the configuration that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from nemo_mixsd.corpora.judge import Judge
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.types import Example, PromptStyle, VerifierName


class CorpusConfig(BaseModel):
    """Keys that every corpus understands; each corpus adds its own in a subclass with a ``Literal`` name."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """Which corpus: one of the names in ``nemo_mixsd.corpora.CORPORA``."""


C = TypeVar("C", bound=CorpusConfig)


class Corpus(ABC, Generic[C]):
    """A source of examples: named splits, each streamed in a fixed order.

    The same configuration gives the same examples in the same order, on every machine and Python version.
    Reading never loads a model. A split may be iterated more than once.
    """

    config_type: ClassVar[type[CorpusConfig]]
    """The pydantic model of the recipe's ``corpus`` section."""
    prompt_style: ClassVar[PromptStyle] = "fact"
    """Which default prompts suit this corpus."""
    verifier: ClassVar[VerifierName] = "contains"
    """Which verifier suits this corpus."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits that this configuration has; ``train`` is always the first."""

    @abstractmethod
    def iter_split(self, split: str) -> Iterator[Example]:
        """Stream the examples of one split.

        Raises:
            CorpusError: No such split, or the source is wrong; the text names file and line.
        """

    def load_split(self, split: str) -> list[Example]:
        """All examples of one split."""
        return list(self.iter_split(split))

    def make_judge(self) -> Judge | None:
        """Who grades responses in evaluation; None leaves it to the verifier. Targets are always verified by rule.

        Raises:
            ConfigError: The judge that the recipe names cannot be had.
        """
        return None

    def _unknown_split(self, split: str) -> CorpusError:
        return CorpusError(
            f"corpus {self.config.name!r} has no split {split!r}; it has {', '.join(self.split_names())}"
        )
