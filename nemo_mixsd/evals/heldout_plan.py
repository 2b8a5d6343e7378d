"""From the ``evals`` section to benchmarks with their problems: all that can be checked before a model is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.benchmarks import BENCHMARKS, Benchmark
from nemo_mixsd.evals.benchmarks.base import choose
from nemo_mixsd.evals.heldout import HeldoutSet
from nemo_mixsd.evals.sandbox import SandboxConfig, SandboxLimits, check_sandbox, run_program
from nemo_mixsd.mixing.engines.base import Sampling

if TYPE_CHECKING:
    from nemo_mixsd.evals.config import BenchmarkOptions, EvalsConfig


def heldout_sets(evals: EvalsConfig, names: Sequence[str] | None = None) -> tuple[HeldoutSet, ...]:
    """The benchmarks of a recipe with their problems, read from file or hub.

    Args:
        evals: The section.
        names: Only these, instead of ``evals.benchmarks``.

    Raises:
        BenchmarkError: The data of one cannot be had or read.
        ConfigError: An option does not fit, or a sandbox is needed and not allowed.
    """
    sets = []
    for name in evals.benchmarks if names is None else names:
        options = evals.options(name)
        benchmark = make_benchmark(name, evals.sandbox)
        sets.append(_heldout_set(benchmark, options, evals))
    return tuple(sets)


def make_benchmark(name: str, sandbox: SandboxConfig) -> Benchmark:
    """The benchmark of that name, with the sandbox if it needs one.

    Raises:
        ConfigError: The sandbox is needed and not allowed, or cannot be had here.
    """
    cls = BENCHMARKS[name]
    if not cls.needs_sandbox:
        return cls()
    isolation = check_sandbox(sandbox, f"evals.benchmarks: {name}")
    return cls(partial(run_program, limits=SandboxLimits.from_config(sandbox), isolation=isolation))


def _heldout_set(benchmark: Benchmark, options: BenchmarkOptions, evals: EvalsConfig) -> HeldoutSet:
    name = benchmark.name
    samples = benchmark.samples if options.samples is None else options.samples
    temperature = benchmark.temperature if options.temperature is None else options.temperature
    if samples > 1 and temperature == 0:
        raise ConfigError(
            f"evals.benchmark.{name}: samples={samples} at temperature 0 are all the same; set a temperature, or "
            "samples=1"
        )
    path = options.path or evals.benchmarks_path
    problems = benchmark.load_all(None if path is None else Path(path).expanduser())
    limit = options.limit if options.limit is not None else evals.benchmarks_limit
    workers = (evals.sandbox.workers or os.cpu_count() or 1) if benchmark.needs_sandbox else 1
    return HeldoutSet(
        benchmark=benchmark,
        problems=tuple(choose(problems, limit, (name, options.seed))),
        total=len(problems),
        seed=options.seed,
        samples=samples,
        max_new_tokens=options.max_new_tokens or benchmark.max_new_tokens,
        sampling=Sampling(temperature, options.top_k if temperature else None, options.seed if temperature else 0),
        workers=workers,
    )


def describe_sets(sets: Sequence[HeldoutSet], lm_eval: Sequence[str] = ()) -> str:
    """The benchmarks on one line, for the plan: what of each, and how many responses in all."""
    parts = []
    for chosen in sets:
        count = f"{len(chosen.problems)}" + (f" of {chosen.total}" if len(chosen.problems) < chosen.total else "")
        times = f" x {chosen.samples} samples" if chosen.samples > 1 else ""
        parts.append(f"{chosen.name} {count}{times}")
    parts += [f"lm-eval {task}" for task in lm_eval]
    return ", ".join(parts)
