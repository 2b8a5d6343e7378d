"""How callbacks hear NeMo-RL's loops: the logger and the checkpoint manager handed to a loop are wrapped.

Nothing of the host is changed. A wrapper passes everything on and tells the callbacks what went through it.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.errors import BackendError


class Wrapper:
    """Stands before an object of the host and passes every attribute on that it does not have itself."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class ListeningLogger(Wrapper):
    """The host's ``Logger``; ``on_train_step`` and ``on_validation`` come from the metrics that the loop logs."""

    def __init__(self, inner: Any, name: str, callbacks: CallbackRunner) -> None:
        """Wrap ``inner``; ``name`` is the report name that callbacks are told."""
        super().__init__(inner)
        self._name = name
        self._callbacks = callbacks

    def log_metrics(self, metrics: Mapping[str, Any], step: int, prefix: str | None = "", **options: Any) -> None:
        """Log, then tell.

        Raises:
            BackendError: The training loss is no number.
            Exception: Whatever a required callback raised.
        """
        self._inner.log_metrics(metrics, step, prefix, **options)
        numbers_only = {k: float(v) for k, v in metrics.items() if _is_scalar(v)}
        if prefix == "train":
            loss = numbers_only.get("loss", 0.0)
            if not math.isfinite(loss):
                raise BackendError(
                    f"training {self._name}: the loss is {loss} at step {step}; lower policy.optimizer.kwargs.lr"
                )
            self._callbacks.emit("on_train_step", self._name, step, numbers_only)
        elif prefix == "validation" and numbers_only:
            self._callbacks.emit("on_validation", self._name, step, numbers_only)


def _is_scalar(value: Any) -> bool:
    if getattr(value, "ndim", 0) == 0 and hasattr(value, "item"):
        value = value.item()
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


class ListeningCheckpointer(Wrapper):
    """The host's ``CheckpointManager``; ``on_checkpoint_saved`` comes after a checkpoint has its final name."""

    def __init__(self, inner: Any, name: str, callbacks: CallbackRunner, publish: Callable[[Path], None]) -> None:
        """Wrap ``inner``.

        Args:
            inner: The host's manager.
            name: The report name that callbacks are told.
            callbacks: Who is told.
            publish: Makes a finished step directory loadable with ``from_pretrained``, before anyone is told.
        """
        super().__init__(inner)
        self._name = name
        self._callbacks = callbacks
        self._publish = publish

    def finalize_checkpoint(self, checkpoint_path: str | Path) -> None:
        """Finish a checkpoint, as v0.7.0's loop asks."""
        self._inner.finalize_checkpoint(checkpoint_path)
        self._tell(Path(checkpoint_path))

    def begin_finalization(self, checkpoint_path: str | Path, wait_fn: Callable[[], None] | None = None) -> None:
        """Finish a checkpoint, as main's loop asks.

        Main does this in a thread; with callbacks that read the checkpoint it is awaited, in the loop's own thread.
        """
        self._inner.begin_finalization(checkpoint_path, wait_fn=wait_fn)
        self._inner.finalize_pending()
        self._tell(Path(checkpoint_path))

    def _tell(self, temporary: Path) -> None:
        step = int(temporary.name.rpartition("_")[2])
        place = temporary.parent / f"step_{step}"
        self._publish(place)
        self._callbacks.emit("on_checkpoint_saved", self._name, step, place)

    def __enter__(self) -> ListeningCheckpointer:
        """Main's managers are context managers; v0.7.0's are not."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for what main's manager does in the background."""
        if hasattr(self._inner, "shutdown"):
            self._inner.shutdown()
