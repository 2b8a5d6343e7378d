"""What a training costs, in tokens and seconds. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nemo_mixsd.io import read_json, write_json
from nemo_mixsd.types import Target, from_record, to_record

COST_FILE: Final = "cost.json"
"""Name of the count within a checkpoint, so that a resumed training counts on from there."""


@dataclass(slots=True)
class TrainCost:
    """Running count of a training; what a kill cut off after the newest checkpoint is done again and counted once.

    Attributes:
        generated_tokens: Tokens that the student generated while it was trained.
        teacher_tokens: Tokens (prompt and response) that went through the teacher, forward only.
        trained_tokens: Tokens (prompt and response) that went through the student, forward and backward.
        seconds: Wall time of the steps, without loading, saving and looks at the student.
    """

    generated_tokens: int = 0
    teacher_tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0

    def save(self, checkpoint: Path) -> None:
        """Keep the count in a checkpoint."""
        write_json(checkpoint / COST_FILE, self.record())

    def record(self) -> dict[str, float | int]:
        """The count as JSON, seconds to a hundredth."""
        return {**to_record(self), "seconds": round(self.seconds, 2)}


def targets_cost(targets: Sequence[Target], order: Sequence[int], seconds: float) -> TrainCost:
    """The cost of training on targets in an order: each position is a forward and backward pass of one of them."""
    lengths = [len(target.prompt_ids) + len(target.token_ids) for target in targets]
    return TrainCost(trained_tokens=sum(lengths[i] for i in order), seconds=seconds)


def load_cost(checkpoint: Path) -> TrainCost:
    """The count of a checkpoint; zero where it has none."""
    file = checkpoint / COST_FILE
    return from_record(TrainCost, read_json(file)) if file.is_file() else TrainCost()
