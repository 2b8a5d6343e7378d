"""The bridge to EleutherAI's lm-evaluation-harness: its tasks on our checkpoints, its results in our report.

The harness runs in a process of its own, which gives the GPU back when it is done and takes nothing along if it dies.
Each task has a result file, written when the task is finished; a task that has one is not run again.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nemo_mixsd
from nemo_mixsd import models
from nemo_mixsd.errors import ConfigError, EngineError, RunDirectoryError
from nemo_mixsd.evals.config import LmEvalConfig
from nemo_mixsd.evals.heldout_report import LM_EVAL
from nemo_mixsd.io import read_json
from nemo_mixsd.mixing.journal import fingerprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HarnessModel:
    """The model as the harness is to load it.

    Attributes:
        path: Directory or hub id.
        tokenizer: The same for its tokenizer; None is ``path``.
        precision: Dtype of the weights.
        device: ``cuda``, ``cpu``, ...
    """

    path: str
    tokenizer: str | None
    precision: str
    device: str


def check_lm_eval(tasks: Sequence[str], options: LmEvalConfig) -> None:
    """Refuse tasks that the harness does not know, before any model is loaded.

    Raises:
        ConfigError: The harness is not installed, the folder is not there, or it has no such task.
    """
    if not tasks:
        return
    if options.include_path is not None and not Path(options.include_path).is_dir():
        raise ConfigError(f"evals.lm_eval_options.include_path: {options.include_path} is no folder")
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError("evals.lm_eval: lm-evaluation-harness is not installed: uv sync --extra lm-eval")
    from lm_eval.tasks import TaskManager

    known = set(TaskManager(include_path=options.include_path).all_tasks)
    for task in tasks:
        if task not in known:
            where = "" if options.include_path is None else f" or in {options.include_path}"
            raise ConfigError(
                f"evals.lm_eval: the harness has no task {task!r}{where}; 'lm-eval ls tasks' lists those there are"
            )


def run_lm_eval(
    tasks: Sequence[str],
    model: HarnessModel,
    directory: Path,
    options: LmEvalConfig,
    make_room: Callable[[], None] = lambda: None,
) -> None:
    """Run the tasks that have no result yet.

    Args:
        tasks: Names of the harness, checked.
        model: What to evaluate.
        directory: The evaluations of the checkpoint; results go to its folder ``lm_eval``.
        options: How to run.
        make_room: Called before the harness loads the model, to give memory back; not if nothing is to be done.

    Raises:
        EngineError: The harness failed; the text has its last words and names its log.
        RunDirectoryError: A result of other options is there.
    """
    folder = directory / LM_EVAL
    key = fingerprint("lm_eval", options.model_dump(exclude={"batch_size", "include_path"}), model.precision)
    missing = [task for task in dict.fromkeys(tasks) if not _is_done(folder / f"{task}.json", key)]
    if not missing:
        return
    make_room()
    folder.mkdir(parents=True, exist_ok=True)
    job = {
        "model": {
            "pretrained": model.path,
            "tokenizer": _tokenizer(model),
            "dtype": model.precision,
            "device": model.device,
            "batch_size": options.batch_size,
        },
        "tasks": missing,
        "folder": str(folder),
        "key": key,
        "include_path": options.include_path,
        "limit": options.limit,
        "num_fewshot": options.num_fewshot,
        "chat_template": options.chat_template,
    }
    logger.info("lm-eval: %s on %s", ", ".join(missing), model.path)
    _run(job, folder / "log.txt", missing)


def _tokenizer(model: HarnessModel) -> str:
    name = model.tokenizer or model.path
    return models.resolve_model(name).path if name.startswith("bundled:") else name


def _is_done(file: Path, key: str) -> bool:
    if not file.is_file():
        return False
    if read_json(file).get("key") != key:
        raise RunDirectoryError(
            f"{file} was made with other evals.lm_eval_options; delete it to run the task again, or choose another "
            "run_dir"
        )
    return True


def _run(job: Mapping[str, object], log: Path, tasks: Sequence[str]) -> None:
    root = str(Path(nemo_mixsd.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file, log.open("w") as output:
        json.dump(job, file)
        file.flush()
        command = [sys.executable, "-m", "nemo_mixsd.evals.lm_eval_worker", file.name]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false"}
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    if status.returncode:
        last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-3:]
        raise EngineError(
            f"lm-eval failed with status {status.returncode} on {', '.join(tasks)}: {' / '.join(last)[:600]} (all of "
            f"it: {log}). Tasks that were finished are kept; start the same command again"
        )
