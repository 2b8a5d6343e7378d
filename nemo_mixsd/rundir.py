"""The run directory: fixed names inside, one owner at a time, one configuration for life."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import RunDirectoryError, StorageError
from nemo_mixsd.io import read_json, write_json, write_text
from nemo_mixsd.recipe import flatten

NEUTRAL = (
    "run_dir",
    "method",
    "mixing.rate",
    "mixing.auto",  # a choice that was made keeps the fingerprint of its settings (mixing.auto_rate)
    "mixing.max_in_flight",
    "opsd.mixsd_kl_rate",
    "opsd.shuffled_context",
    "evals.batch_size",
    "evals.checkpoints",
    "evals.select",
    "evals.select_validation",
    "evals.taxonomy",
    "evals.benchmarks",  # a result keeps the fingerprint of its settings and problems (evals.heldout)
    "evals.benchmark",
    "evals.benchmarks_path",
    "evals.benchmarks_limit",
    "evals.lm_eval",
    "evals.lm_eval_options",
    "evals.sandbox",
    "analysis",
    "logger",
    "callbacks",
    "checkpointing.keep_top_k",
    "checkpointing.checkpoint_dir",
    "cluster",
    "data",
)
"""Keys that may differ between two starts of the same run: they add results or change none."""


class RunDirectory:
    """Paths of a run, and its lock. Use as a context manager."""

    def __init__(self, config: RunConfig) -> None:
        self.path = Path(config.run_dir)
        self._config = config
        self._lock: IO[str] | None = None

    def __enter__(self) -> RunDirectory:
        """Create the directory or take an existing one of the same configuration.

        Raises:
            RunDirectoryError: Another process works in it, or it belongs to another configuration.
            StorageError: It cannot be created.
        """
        check_same_configuration(self._config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a+")  # held until __exit__
        except OSError as error:
            raise StorageError(f"run_dir {self.path} cannot be created: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise RunDirectoryError(
                f"run_dir {self.path} is in use by another process; wait for it, or give another run_dir"
            ) from error
        for left_over in self.path.rglob(".*.tmp"):  # a killed process was writing these; the lock says it is gone
            left_over.unlink(missing_ok=True)
        write_text(self.config_file, yaml.safe_dump(self._config.model_dump(mode="json"), sort_keys=False))
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    def corpus(self, split: str) -> Path:
        """Examples of a split."""
        return self.path / "corpus" / f"{split}.jsonl"

    def targets(self, name: str) -> Path:
        """Accepted targets of a method, by report name."""
        return self.path / "targets" / f"{name}.jsonl"

    @property
    def discarded(self) -> Path:
        """Discards of all methods."""
        return self.path / "targets" / "discarded.jsonl"

    def checkpoints(self, name: str) -> Path:
        """Checkpoints of a method."""
        return self.path / "checkpoints" / name

    def evals(self, name: str, step: int) -> Path:
        """Evaluations of a checkpoint; step 0 is the base model."""
        return self.path / "evals" / name / str(step)

    def target_nll(self, name: str) -> Path:
        """Per-token NLL of a method's targets under the base model."""
        return self.path / "analysis" / "target_nll" / f"{name}.jsonl"

    def token_text(self, name: str) -> Path:
        """Texts of the single tokens of a method's targets, so that a report needs no tokenizer."""
        return self.path / "analysis" / "token_text" / f"{name}.jsonl"

    @property
    def fisher(self) -> Path:
        """The diagonal Fisher at the base model."""
        return self.path / "analysis" / "fisher.safetensors"

    @property
    def displacement(self) -> Path:
        """Displacement of each checkpoint, ``<name>/<step>.json``."""
        return self.path / "analysis" / "displacement"

    @property
    def seconds_file(self) -> Path:
        """Wall time by method and stage."""
        return self.path / "analysis" / "seconds.json"

    @contextmanager
    def clock(self, name: str, stage: str) -> Iterator[None]:
        """Add the wall time of a block to ``seconds.json``; what a kill cuts off is not counted."""
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = self.seconds()
            row = seconds.setdefault(name, {})
            row[stage] = round(row.get(stage, 0.0) + time.monotonic() - start, 2)
            write_json(self.seconds_file, seconds)

    def share_seconds(self, source: str, name: str, stage: str) -> None:
        """Count the time of a stage of ``source`` for ``name`` too, whose result was taken over."""
        seconds = self.seconds()
        if stage in seconds.get(source, {}):
            seconds.setdefault(name, {})[stage] = seconds[source][stage]
            write_json(self.seconds_file, seconds)

    def seconds(self) -> dict[str, dict[str, float]]:
        """Wall time so far: ``{NAME: {STAGE: seconds}}``."""
        return read_json(self.seconds_file) if self.seconds_file.exists() else {}


def check_same_configuration(config: RunConfig) -> None:
    """Refuse a directory that belongs to another configuration. Reads only.

    Raises:
        RunDirectoryError: Names each difference and the choices.
    """
    path = Path(config.run_dir)
    if path.exists() and not path.is_dir():
        raise RunDirectoryError(f"run_dir {path} is a file; give another one")
    file = path / "config.yaml"
    if not file.is_file():
        foreign = [entry.name for entry in path.iterdir() if entry.name != ".lock"] if path.is_dir() else []
        if foreign:
            raise RunDirectoryError(
                f"run_dir {path} is not empty ({foreign[0]}, ...) and holds no run; give another one"
            )
        return
    before = _comparable(yaml.safe_load(file.read_text(encoding="utf-8")))
    now = _comparable(config.model_dump(mode="json"))
    keys = sorted(before.keys() | now.keys())
    if not (path / "checkpoints" / "memit").exists():  # nothing depends on the section yet
        keys = [key for key in keys if not key.startswith("memit.")]
    differences = [(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]
    if differences:
        named = "; ".join(f"{key} is {old!r} there and {new!r} now" for key, old, new in differences[:5])
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        key, old, _ = differences[0]
        raise RunDirectoryError(
            f"run_dir {path} belongs to another configuration: {named}{more}. Resume it with the old values (for "
            f"example {key}={old}), or start a new run with run_dir={os.fspath(path)}-2"
        )


def is_neutral(key: str) -> bool:
    """Whether a dotted key may differ between two starts of one run, for it changes no result."""
    return any(key == name or key.startswith(name + ".") for name in NEUTRAL)


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flatten(config).items() if not is_neutral(key)}
