"""What each method has cost: tokens generated, tokens that went through a teacher and through the student, seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nemo_mixsd.io import read_json, read_jsonl
from nemo_mixsd.reporting.words import count
from nemo_mixsd.training.steps import COMPLETE
from nemo_mixsd.types import Discard, Target

Cost = Mapping[str, float | int | None]

LEGEND: Final = (
    "Generated: tokens decoded for targets, rejected attempts included, and by the student while it is trained. "
    "Teacher: tokens of prompts and responses that a teacher read, forward only. Trained: those that the student was "
    "trained on, forward and backward. Seconds: making targets and training, without loading, saving and evaluation. "
    "Tokens do not depend on the machine."
)
"""How to read the table."""


def method_cost(run_dir: Path, name: str, seconds: Mapping[str, float]) -> dict[str, float | int | None]:
    """The cost of a method from the files of its run; a count that nobody made is None.

    Args:
        run_dir: The run.
        name: The report name.
        seconds: Wall time by stage.

    Returns:
        ``generated_tokens``, ``teacher_tokens``, ``trained_tokens`` and ``seconds``; nothing where the method has no
        finished training, as the base model.
    """
    mark = run_dir / "checkpoints" / name / COMPLETE
    if not mark.is_file():
        return {}
    record = read_json(mark)
    training: dict[str, float | int | None] = record.get("cost") or {}
    made, trained = _target_tokens(run_dir, name), training.get("generated_tokens")
    return {
        "generated_tokens": None if made is None or trained is None else int(made + trained),
        "teacher_tokens": training.get("teacher_tokens"),
        "trained_tokens": training.get("trained_tokens"),
        "seconds": round(seconds.get("targets", 0.0) + float(record["seconds"]), 2),
    }


def _target_tokens(run_dir: Path, name: str) -> int | None:
    """Tokens generated for the targets of a method: 0 if it has none, None if they were not counted."""
    path, discarded = run_dir / "targets" / f"{name}.jsonl", run_dir / "targets" / "discarded.jsonl"
    if not path.is_file():
        return 0
    counts = [target.generated for target in read_jsonl(path, Target)]
    if discarded.is_file():
        counts += [discard.generated for discard in read_jsonl(discarded, Discard) if discard.name == name]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def cost_table(costs: Mapping[str, Cost]) -> tuple[list[str], list[list[str]]]:
    """Costs by report name as header and rows of text; methods without a training are left out."""
    header = ["method", "generated tokens", "teacher tokens", "trained tokens", "seconds"]
    keys = ("generated_tokens", "teacher_tokens", "trained_tokens")
    rows = []
    for name, cost in costs.items():
        if cost:
            seconds = cost.get("seconds")
            rows.append([name, *[count(cost.get(k)) for k in keys], "–" if seconds is None else f"{seconds:.1f}"])
    return header, rows
