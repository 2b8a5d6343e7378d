"""The methods with a teacher, within a run: what they are given, and which function trains them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nemo_mixsd.distill_plan import SHUFFLED
from nemo_mixsd.io import read_jsonl, write_jsonl, write_text
from nemo_mixsd.plan import MethodSpec
from nemo_mixsd.rundir import RunDirectory
from nemo_mixsd.training.distill_config import DISTILLED
from nemo_mixsd.training.distill_source import DistillSource, check_topk
from nemo_mixsd.training.steps import StopRule, TrainResult, finished
from nemo_mixsd.types import Discard, Method, rate_name

if TYPE_CHECKING:
    from nemo_mixsd.pipeline import Pipeline


def check_distillation(pipeline: Pipeline) -> None:
    """Before a model is loaded: make the teacher's prompts once, and see whether there are so many tokens to teach.

    Raises:
        PromptError: A prompt is too long.
        CorpusError: Contexts cannot be shuffled, or questions cannot be told apart on NeMo-RL.
        ConfigError: ``opsd.topk`` is beyond the vocabulary, or NeMo-RL cannot do what the recipe asks.
    """
    for spec in pipeline.plan.methods:
        if spec.method in DISTILLED and finished(pipeline.directory.checkpoints(spec.name)) is None:
            check_topk(pipeline.config, spec.method, pipeline.model_path)
            source = distill_source(pipeline, spec)
            if pipeline.plan.backend.name == "nemo_rl":
                from nemo_mixsd.nemo.distill_sections import check_host_distill

                check_host_distill(pipeline.config, spec.method, source.prompts)


def distill_source(pipeline: Pipeline, spec: MethodSpec) -> DistillSource:
    """Prompts of student and teacher, and the targets of ``mixsd_kl``."""
    path = pipeline.directory.targets(spec.name) if spec.method == Method.MIXSD_KL else None
    return DistillSource(spec.method, pipeline.teacher_prompts, path)


def train_distillation(pipeline: Pipeline, spec: MethodSpec, stop: StopRule | None) -> TrainResult:
    """Train one method on the backend of the plan.

    Args:
        pipeline: The run.
        spec: One of ``DISTILLED``.
        stop: The recipe's rule to stop early, for the local backend.
    """
    directory = pipeline.directory.checkpoints(spec.name)
    source = distill_source(pipeline, spec)
    arguments = (pipeline.config, spec.name, pipeline.model_path, source, directory, pipeline.callbacks)
    if pipeline.plan.backend.name == "nemo_rl":
        from nemo_mixsd.nemo.distill_backend import train_nemo_distill

        return train_nemo_distill(*arguments)
    from nemo_mixsd.training.distill import train_distill

    return train_distill(*arguments, stop=stop)


def share_targets(directory: RunDirectory, spec: MethodSpec) -> bool:
    """Take the targets of another method at the same λ, if they are made; they would be the same, byte for byte.

    Also takes their discards, their NLL and the time that they took, so that the row stands for itself.
    """
    kinds = (Method.MIXSD.value, Method.MIXSD_KL.value, Method.MIXSD_KL.value + SHUFFLED)
    names = [rate_name(kind, spec.rate) for kind in kinds] if spec.rate is not None else []
    twin = next((name for name in names if name != spec.name and directory.targets(name).exists()), None)
    if twin is None:
        return False
    discards = list(read_jsonl(directory.discarded, Discard)) if directory.discarded.exists() else []
    kept = [d for d in discards if d.name != spec.name]
    same = [replace(d, name=spec.name) for d in discards if d.name == twin]
    write_jsonl(directory.discarded, [*kept, *same])
    directory.share_seconds(twin, spec.name, "targets")
    write_text(directory.targets(spec.name), directory.targets(twin).read_text(encoding="utf-8"))
    return True
