"""Displacement as a hook: every checkpoint is measured when it is saved, whichever backend trains."""

from __future__ import annotations

import logging
from pathlib import Path

from nemo_mixsd.analysis.displacement import ensure_displacement
from nemo_mixsd.analysis.weights import checkpoint_directory

logger = logging.getLogger(__name__)


class DisplacementCallback:
    """Writes ``<out>/<name>/<step>.json`` for each checkpoint: raw and Fisher-weighted displacement, alignment ratio.

    A run with ``analysis.fisher.enabled`` has it as a matter of course. In a recipe of one's own:

        callbacks:
          - name: nemo_mixsd.analysis.callback.DisplacementCallback
            kwargs: {base: Qwen/Qwen3-1.7B, fisher: fisher.safetensors, out: runs/mine/analysis/displacement}
    """

    def __init__(self, base: str, out: str, fisher: str | None = None) -> None:
        """Keep where things are.

        Args:
            base: The base model, as ``policy.model_name`` has it.
            out: Directory of the results.
            fisher: A finished Fisher at the base model; without one only raw displacement is measured.
        """
        self._base = base
        self._out = Path(out)
        self._fisher = None if fisher is None else Path(fisher)

    def path(self, name: str, step: int) -> Path:
        """The result of one checkpoint."""
        return self._out / name / f"{step}.json"

    def on_checkpoint_saved(self, name: str, step: int, path: Path) -> None:
        """Measure a checkpoint, if that was not done before."""
        found = ensure_displacement(checkpoint_directory(self._base), path, self._fisher, self.path(name, step))
        logger.info("%s step %d: raw displacement %.4g, alignment %s", name, step, found["raw"], _text(found))


def _text(found: dict[str, object]) -> str:
    value = found.get("alignment")
    return f"{value:.3f}" if isinstance(value, float) else "not measured"
