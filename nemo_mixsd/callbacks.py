"""Hooks into a run: write a class with any of these methods and name it under ``callbacks`` in the recipe."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from nemo_mixsd.config import CallbackConfig
from nemo_mixsd.errors import ConfigError

logger = logging.getLogger(__name__)

Event = Literal["on_targets_ready", "on_train_step", "on_validation", "on_checkpoint_saved", "on_train_end"]


@runtime_checkable
class Callback(Protocol):
    """What a callback may hear. All methods are optional; ``name`` is the report name (``sft``, ``mixsd@0.3``)."""

    def on_targets_ready(self, name: str, path: Path) -> None:
        """The targets of a method are complete at ``path`` (JSONL of ``Target``)."""
        ...

    def on_train_step(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """An optimizer step is done; ``metrics`` has ``loss`` (nats a token), ``grad_norm`` and ``lr``."""
        ...

    def on_validation(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """A checkpoint was evaluated; ``metrics`` holds accuracies and ``forgetting_nats``."""
        ...

    def on_checkpoint_saved(self, name: str, step: int, path: Path) -> None:
        """A checkpoint in Hugging Face format is complete at ``path``."""
        ...

    def on_train_end(self, name: str, step: int, path: Path) -> None:
        """Training is over; ``path`` is the last checkpoint."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    required: bool
    callback: object


class CallbackRunner:
    """Calls callbacks in order. One that raises is logged with its name, and ends the run only if it is required."""

    def __init__(self, entries: Sequence[_Entry] = ()) -> None:
        self._entries = tuple(entries)

    @classmethod
    def from_config(cls, configs: Sequence[CallbackConfig]) -> CallbackRunner:
        """Import and construct the callbacks of a recipe.

        Raises:
            ConfigError: A name does not import, or its class does not take the arguments.
        """
        return cls([_Entry(c.name, c.required, _construct(c)) for c in configs])

    def plus(self, callback: object) -> CallbackRunner:
        """These and one more, which does not end the run when it raises."""
        return CallbackRunner([*self._entries, _Entry(type(callback).__name__, False, callback)])

    def emit(self, event: Event, *args: Any) -> None:
        """Call ``event`` on every callback that has it.

        Raises:
            Exception: Whatever a required callback raised.
        """
        for entry in self._entries:
            method = getattr(entry.callback, event, None)
            if method is None:
                continue
            try:
                method(*args)
            except Exception:
                if entry.required:
                    raise
                logger.exception("callback %s failed in %s; the run goes on", entry.name, event)


def _construct(config: CallbackConfig) -> object:
    module_name, _, class_name = config.name.rpartition(".")
    if not module_name:
        raise ConfigError(f"callbacks: {config.name!r} is no dotted name of a class (package.module.Class)")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError) as error:  # TypeError: a relative name
        raise ConfigError(f"callbacks: {config.name!r} cannot be imported: {error}") from error
    try:
        return cls(**config.kwargs)
    except TypeError as error:
        raise ConfigError(f"callbacks: {config.name!r} does not take its kwargs {config.kwargs}: {error}") from error
