"""The recipe's ``corpus`` section for KGFunc."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from nemo_mixsd.corpora.base import CorpusConfig
from nemo_mixsd.corpora.kgfunc.trained import DEFAULT_LABELS, OPERATIONS


class KGFuncConfig(CorpusConfig):
    """Which operations are taught, and how many instances each split has."""

    name: Literal["kgfunc"] = "kgfunc"
    """The corpus of digit operations."""
    seed: int = 0
    """Everything random in the corpus is a function of this number."""
    operations: tuple[str, ...] = DEFAULT_LABELS
    """Labels of the operations to teach, out of A–K."""
    train_count: int = Field(default=1600, ge=1, le=200_000)
    """Training instances over all operations together, spread as evenly as they divide."""
    train_per_operation: int | None = Field(default=None, ge=1, le=40_000)
    """Training instances of each operation. Where it is set, ``train_count`` is not looked at."""
    test_per_operation: int = Field(default=25, ge=0, le=10_000)
    """Test instances of each operation; their query inputs are kept out of that operation's training."""
    unseen_per_operation: int = Field(default=25, ge=0, le=10_000)
    """Instances of each of the 20 operations a–t of the ``unseen`` split."""
    composition_count: int = Field(default=200, ge=0, le=10_000)
    """Instances of the ``composition`` split, over the ordered pairs of different operations."""
    shots: int = Field(default=10, ge=2, le=100)
    """Solved inputs in a prompt. One alone cannot show that an output depends on its input, so 2 is the least."""

    @field_validator("operations")
    @classmethod
    def _known_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [label for label in labels if label not in OPERATIONS]
        if unknown:
            raise ValueError(
                f"unknown operation {unknown[0]!r} in operations; the known ones are {', '.join(OPERATIONS)}"
            )
        if not labels:
            raise ValueError(f"operations is empty; name at least one of {', '.join(OPERATIONS)}")
        repeated = [label for i, label in enumerate(labels) if label in labels[:i]]
        if repeated:
            raise ValueError(f"operation {repeated[0]!r} stands twice in operations; name it once")
        return labels

    def train_counts(self) -> dict[str, int]:
        """Training instances by label; what does not divide evenly goes to the labels named first."""
        if self.train_per_operation is not None:
            return dict.fromkeys(self.operations, self.train_per_operation)
        return spread(self.train_count, self.operations)


def spread(count: int, labels: tuple[str, ...]) -> dict[str, int]:
    """Divide ``count`` over ``labels``, the remainder to the first ones."""
    each, rest = divmod(count, len(labels))
    return {label: each + (i < rest) for i, label in enumerate(labels)}
