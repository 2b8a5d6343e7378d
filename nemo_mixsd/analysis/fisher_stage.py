"""The Fisher and the displacements of a run, as ``analysis.fisher`` of its recipe asks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd import models
from nemo_mixsd.analysis.callback import DisplacementCallback
from nemo_mixsd.analysis.fisher import FisherSettings, check_same, compute_fisher, fisher_key, read_info
from nemo_mixsd.analysis.fisher_plan import REFERENCE, TARGETS
from nemo_mixsd.analysis.fisher_samples import ChatEncoder, Encoder, choose_samples, read_samples
from nemo_mixsd.analysis.fisher_shards import compute_in_processes
from nemo_mixsd.analysis.weights import checkpoint_directory, open_checkpoint
from nemo_mixsd.errors import AnalysisError

if TYPE_CHECKING:
    from nemo_mixsd.run_context import RunContext

logger = logging.getLogger(__name__)


def displacement_callback(context: RunContext) -> DisplacementCallback | None:
    """Compute the Fisher of a run, if it is asked for and not there, and make the hook that uses it.

    Raises:
        AnalysisError: The samples or the base model's files do not serve.
    """
    if not context.config.analysis.fisher.enabled:
        return None
    open_checkpoint(checkpoint_directory(context.model_path)).close()  # now, not after the first training
    path = context.directory.fisher
    _compute(context, path)
    return DisplacementCallback(context.model_path, str(context.directory.displacement), str(path))


def _compute(context: RunContext, path: Path) -> None:
    config = context.config.analysis.fisher
    files = [_file(context, source) for source in config.source]
    samples = choose_samples(read_samples(files, lambda: _encoder(context)), config.samples, config.seed)
    limit = models.context_length(context.model_path)
    fitting = [s for s in samples if limit is None or len(s.prompt_ids) + len(s.token_ids) <= limit]
    if len(fitting) < len(samples):
        logger.warning("Fisher: %d samples are longer than the model's context", len(samples) - len(fitting))
    if not fitting:
        raise AnalysisError(f"analysis.fisher.source: no samples in {', '.join(map(str, files))}")
    settings = FisherSettings(config.batch_size, config.batch_tokens, config.memory, config.save_every)
    name = context.plan.model.name
    if path.exists():  # complete: no model is loaded for it
        check_same(read_info(path), fisher_key(name, context.precision, fitting), path)
        return
    devices = shard_devices(config.processes)
    with context.directory.clock("base", "fisher"):
        if len(devices) > 1:
            context.unload()
            compute_in_processes(context.model_path, context.precision, fitting, path, settings, devices, name)
        else:
            compute_fisher(context.model(context.model_path), fitting, path, settings, name)


def _file(context: RunContext, source: str) -> Path:
    if source == REFERENCE:
        return context.directory.evals("base", 0) / "reference.jsonl"
    if source.startswith(TARGETS):
        return context.directory.targets(source.removeprefix(TARGETS))
    return Path(source)


def _encoder(context: RunContext) -> Encoder:
    return ChatEncoder(context.tokenizer, context.config.policy.tokenizer.chat_template_kwargs)


def shard_devices(processes: int | None) -> list[str]:
    """Where the shards go: one a GPU, or as many processes as asked for."""
    import torch

    gpus = torch.cuda.device_count() if models.default_device() == "cuda" else 0
    count = processes or max(gpus, 1)
    return [f"cuda:{i % gpus}" if gpus else "cpu" for i in range(count)]
