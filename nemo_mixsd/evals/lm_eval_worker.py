"""The process that runs lm-evaluation-harness; started by ``evals.lm_eval_bridge`` with the path of a job."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_mixsd.analysis.distribution import Z95
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.evals.heldout_report import LM_EVAL, NOT_A_SHARE
from nemo_mixsd.io import atomic_writer, write_json
from nemo_mixsd.types import to_record


def main(path: str) -> None:
    """Run each task of a job and write its result and its samples."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    model = HFLM(**job["model"])
    manager = TaskManager(include_path=job["include_path"])
    for task in job["tasks"]:
        results = simple_evaluate(
            model=model,
            tasks=[task],
            task_manager=manager,
            limit=job["limit"],
            num_fewshot=job["num_fewshot"],
            apply_chat_template=job["chat_template"],
            bootstrap_iters=1000,
        )
        folder = Path(job["folder"])
        _write_samples(folder / f"{task}.samples.jsonl", results.get("samples") or {})
        write_json(folder / f"{task}.json", to_record(to_score(task, results, job["key"])))


def _end_with_parent(parent: int) -> None:
    """End this process when the run that started it is gone: the next start would do the same work beside it."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def to_score(task: str, results: Mapping[str, Any], key: str) -> HeldoutScore:
    """The first metric of a task (or of a group of tasks) as one of our scores.

    Raises:
        ValueError: The harness reports no number for the task.
    """
    found = results["results"].get(task) or (results.get("groups") or {}).get(task)
    metrics = {
        name: value
        for name, value in (found or {}).items()
        if "," in name and "_stderr" not in name and isinstance(value, int | float)
    }
    if not metrics:
        raise ValueError(f"lm-eval reports no metric for the task {task}")
    metric, value = next(iter(metrics.items()))
    name, _, filtering = metric.partition(",")
    error = (found or {}).get(f"{name}_stderr,{filtering}")
    error = float(error) if isinstance(error, int | float) and not any(w in name for w in NOT_A_SHARE) else None
    counts = _counts(task, results)
    return HeldoutScore(
        benchmark=f"{LM_EVAL}/{task}",
        accuracy=float(value),
        low=None if error is None else max(0.0, value - Z95 * error),
        high=None if error is None else min(1.0, value + Z95 * error),
        interval="normal",
        problems=counts[0],
        total=counts[1],
        samples=1,
        seed=0,
        correct=round(value * counts[0]) if 0 <= value <= 1 else 0,
        truncated=0,
        metric=name if filtering == "none" else f"{name} ({filtering})",
        subjects={},
        key=key,
    )


def _counts(task: str, results: Mapping[str, Any]) -> tuple[int, int]:
    """Documents answered and documents there are, over all tasks of a group."""
    counts = results.get("n-samples") or {}
    chosen = [counts[task]] if task in counts else list(counts.values())
    return sum(c["effective"] for c in chosen), sum(c["original"] for c in chosen)


def _write_samples(path: Path, samples: Mapping[str, list[Mapping[str, Any]]]) -> None:
    with atomic_writer(path) as handle:
        for task, records in samples.items():
            for record in records:
                handle.write(json.dumps({"task": task, **record}, ensure_ascii=False, default=str) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
