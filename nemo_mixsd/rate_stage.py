"""The stage of a run that settles ``mixing.rate: auto``: probe, score, decide, and carry on with a plan of numbers."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd.analysis.nll import score_targets
from nemo_mixsd.analysis.tokens import HIGH_NLL
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.auto_rate import (
    PROBE_FILE,
    RateChoice,
    decide,
    probe_examples,
    probe_rates,
    read_choice,
    scored,
    write_choice,
)
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.journal import fingerprint
from nemo_mixsd.mixing.mixer import Rollouts
from nemo_mixsd.plan import MethodSpec, Plan
from nemo_mixsd.types import Method, Target, rate_name

if TYPE_CHECKING:
    from nemo_mixsd.pipeline import Pipeline

logger = logging.getLogger(__name__)


def settle_rate(pipeline: Pipeline) -> Plan:
    """The plan with a number in place of ``auto``; the plan itself if no method waits for one.

    The decision is kept in ``analysis/rate_probe.json`` and holds for every later start of the run.

    Raises:
        RunDirectoryError: A kept decision was made under other settings.
        CorpusError: No candidate has a single accepted target.
    """
    plan = pipeline.plan
    if not any(spec.auto for spec in plan.methods):
        return plan
    path = pipeline.directory.path / "analysis" / PROBE_FILE
    choice = read_choice(path, probe_key(plan))
    if choice is None:
        with pipeline.directory.clock("auto", "probe"):
            choice = _choose(pipeline, path)
    logger.info("mixing.rate=auto: λ=%g, %s", choice.rate, choice.reason)
    return replace(plan, methods=tuple(_settled(spec, choice.rate) for spec in plan.methods))


def probe_key(plan: Plan) -> str:
    """Fingerprint of all that the decision depends on: model, verifier, mixing settings, rule."""
    settings = plan.config.mixing.model_dump(exclude={"rate", "max_in_flight", "engine"})
    return fingerprint("rate probe", plan.model.name, settings, plan.verifier.name)


def _settled(spec: MethodSpec, rate: float) -> MethodSpec:
    return MethodSpec(rate_name(spec.method.value, rate), spec.method, rate) if spec.auto else spec


def _choose(pipeline: Pipeline, path: Path) -> RateChoice:
    plan, mixing = pipeline.plan, pipeline.config.mixing
    folder, key = path.with_suffix(""), probe_key(plan)
    requests = probe_examples(pipeline.requests, mixing.auto, mixing.seed)
    sampling = Sampling(mixing.temperature, mixing.top_k, mixing.seed)
    with pipeline.engine(pipeline.model_path, sampling, mixing.max_in_flight) as engine:

        def mixer_for(rate: float) -> Rollouts:
            return pipeline.mixer(engine, pipeline.mixer_settings(rate_name(Method.MIXSD.value, rate), rate))

        probes = probe_rates(mixer_for, requests, mixing.auto, folder, key)
    model = pipeline.model(pipeline.model_path)
    for i, probe in enumerate(probes):
        name = rate_name(Method.MIXSD.value, probe.rate)
        targets = list(read_jsonl(folder / f"{name}.jsonl", Target))
        records = score_targets(model, targets, folder / f"{name}.nll.jsonl", pipeline.config.analysis.batch_size)
        probes[i] = scored(probe, [value for record in records for value in record.nll], HIGH_NLL)
    choice = decide(probes, mixing.auto, key)
    write_choice(path, choice)
    return choice
