"""How long to train, and what a directory of checkpoints already holds. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd.config import RunConfig
from nemo_mixsd.io import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPLETE = "complete.json"
"""Written beside the checkpoints when training is over; its presence means that there is nothing left to do."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training. ``step`` is the last optimizer step, ``path`` its checkpoint, ``seconds`` wall time."""

    step: int
    path: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class StopRule:
    """When training ends before its last step.

    Attributes:
        period: Optimizer steps between two looks.
        reached: Given the student in evaluation mode, whether it is good enough.
    """

    period: int
    reached: Callable[[PreTrainedModel], bool]

    def due(self, step: int) -> bool:
        """Whether ``step`` is one to look at."""
        return step > 0 and step % self.period == 0

    def met(self, step: int, model: PreTrainedModel) -> bool:
        """Whether a training ends at ``step``: a look at the model in training where one is due."""
        if not self.due(step):
            return False
        model.eval()
        reached = self.reached(model)
        model.train()
        return reached


def total_steps(config: RunConfig, targets: int) -> int:
    """Optimizer steps: whole batches in ``sft.max_num_epochs`` passes, at most ``sft.max_num_steps``."""
    batch = config.policy.train_global_batch_size
    return max(1, min(config.sft.max_num_steps, config.sft.max_num_epochs * targets // batch))


def step_directories(directory: Path) -> dict[int, Path]:
    """Complete checkpoints by step, in order."""
    found = {}
    for path in directory.glob("step_*"):
        number = path.name.removeprefix("step_")
        if number.isdigit() and (path / "config.json").is_file():
            found[int(number)] = path
    return dict(sorted(found.items()))


def finished(directory: Path) -> TrainResult | None:
    """The result of a training that is already complete in ``directory``, or None."""
    mark = directory / COMPLETE
    if not mark.is_file():
        return None
    record = read_json(mark)
    path = directory / f"step_{record['step']}"
    return TrainResult(record["step"], path, record["seconds"]) if path.is_dir() else None
