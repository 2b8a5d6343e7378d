"""Benchmarks during training: a callback that runs some of them on a checkpoint as soon as it is saved."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.config import EvalsConfig
from nemo_mixsd.evals.heldout import HeldoutScore, Limits, evaluate_benchmarks
from nemo_mixsd.evals.heldout_plan import heldout_sets

if TYPE_CHECKING:
    from nemo_mixsd.mixing.engines.base import Engine, Sampling

logger = logging.getLogger(__name__)

FOLDER = "during_training"
"""Below ``evals/<name>/<step>/``: apart from the full results, which may have other limits."""


class EvaluateCheckpoints:
    """Runs benchmarks on saved checkpoints, within a budget; for either backend.

    In a recipe::

        callbacks:
          - name: nemo_mixsd.evals.callback.EvaluateCheckpoints
            kwargs: {benchmarks: [gsm8k], problems: 50, every: 20}

    The checkpoint is loaded in this process beside the model in training, and freed afterwards: there has to be memory
    for both. Training is not changed by it: responses are greedy unless asked otherwise, and the state of the random
    number generators is put back.
    """

    def __init__(
        self,
        benchmarks: Sequence[str],
        problems: int = 50,
        every: int = 1,
        batch_size: int = 32,
        precision: str = "auto",
        evals: dict[str, Any] | None = None,
    ) -> None:
        """Read the problems, so that what is missing is known before the training.

        Args:
            benchmarks: Names, as in ``evals.benchmarks``.
            problems: At most so many of each, the same ones every time.
            every: Only checkpoints whose step is a multiple of this.
            batch_size: Responses generated at the same time.
            precision: Dtype of the loaded checkpoint: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            evals: More keys of the ``evals`` section, such as ``benchmarks_path``, ``benchmark`` or ``sandbox``.

        Raises:
            ConfigError: An argument is not valid, or a benchmark needs the sandbox and is not allowed it.
            BenchmarkError: The data of a benchmark cannot be had.
        """
        if every < 1 or problems < 1:
            raise ConfigError(
                f"callbacks: EvaluateCheckpoints: every={every} and problems={problems} must be 1 or more"
            )
        if precision not in ("auto", "float32", "bfloat16", "float16"):
            raise ConfigError(f"callbacks: EvaluateCheckpoints: no precision {precision!r}; take auto")
        raw = {"benchmarks_limit": problems, **(evals or {}), "benchmarks": list(benchmarks), "batch_size": batch_size}
        try:
            self._evals = EvalsConfig.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"callbacks: EvaluateCheckpoints: {key}: {first['msg']}") from error
        if not self._evals.benchmarks:
            raise ConfigError("callbacks: EvaluateCheckpoints: give one benchmark or more")
        self._every = every
        self._precision = precision
        self._sets = heldout_sets(self._evals)

    def on_checkpoint_saved(self, name: str, step: int, path: Path) -> None:
        """Run the benchmarks on the checkpoint, if its turn has come; results that are there are not made again.

        Raises:
            MixSDError: A benchmark failed. What is finished is kept.
        """
        if step % self._every:
            return
        directory = path.parents[2] / "evals" / name / str(step) / FOLDER
        scores = self._evaluate(path, directory)
        found = ", ".join(f"{score.label} {100 * score.accuracy:.1f} %" for score in scores.values())
        logger.info("%s, step %d: %s", name, step, found)

    def _evaluate(self, path: Path, directory: Path) -> dict[str, HeldoutScore]:
        import torch

        from nemo_mixsd import models
        from nemo_mixsd.prompts import PromptRenderer, choose_templates

        template, template_kwargs = _chat_template(path.parents[2])
        tokenizer = models.load_tokenizer(str(path), template)
        renderer = PromptRenderer(tokenizer, choose_templates("fact"), template_kwargs)
        limits = Limits(self._evals.batch_size, models.context_length(str(path)))

        @contextmanager
        def open_engine(sampling: Sampling, _: int) -> Iterator[Engine]:
            from nemo_mixsd.mixing.engines.hf import HFEngine

            model = models.load_model(str(path), self._dtype())
            engine = HFEngine(model, models.stop_token_ids(tokenizer, str(path)), sampling, self._evals.batch_size)
            try:
                yield engine
            finally:
                engine.close()
                del model, engine
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

        with torch.random.fork_rng():
            return evaluate_benchmarks(open_engine, renderer, self._sets, directory, limits)

    def _dtype(self) -> Any:
        from nemo_mixsd import models

        if self._precision != "auto":
            return self._precision
        return models.auto_precision()


def _chat_template(run_dir: Path) -> tuple[str | None, dict[str, Any]]:
    """The chat template of the run's recipe, and its arguments."""
    file = run_dir / "config.yaml"
    recipe = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    tokenizer = (recipe.get("policy") or {}).get("tokenizer") or {}
    return tokenizer.get("chat_template"), tokenizer.get("chat_template_kwargs") or {}
