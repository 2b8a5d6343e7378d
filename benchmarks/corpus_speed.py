"""Seconds, examples and peak memory of generating corpora: ``python benchmarks/corpus_speed.py [NAME ...]``.

Each builder runs in a process of its own, since a process cannot take its peak memory back. "Above start" is the
growth over the memory of the interpreter with the package imported. Add a corpus by adding to ``BUILDERS``.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nemo_mixsd.corpora.base import Corpus
from nemo_mixsd.corpora.kgfact import KGFactConfig, KGFactCorpus
from nemo_mixsd.corpora.kgfunc import KGFuncConfig, KGFuncCorpus


@dataclass(frozen=True, slots=True)
class Builder:
    """A corpus to generate and the splits to stream.

    Attributes:
        make: Builds the corpus.
        splits: Names of the splits; empty for all.
    """

    make: Callable[[], Corpus[Any]]
    splits: tuple[str, ...] = ()


def _kgfact_million() -> Corpus[Any]:
    return KGFactCorpus(KGFactConfig(size="custom", domains=5, entities_per_domain=40_000, facts=1_000_000))


BUILDERS: dict[str, Builder] = {
    "kgfact-small": Builder(lambda: KGFactCorpus(KGFactConfig(size="small"))),
    "kgfact-large": Builder(lambda: KGFactCorpus(KGFactConfig(size="large"))),
    "kgfact-million": Builder(_kgfact_million, ("train",)),
    "kgfunc": Builder(lambda: KGFuncCorpus(KGFuncConfig())),
    "kgfunc-1600-each": Builder(lambda: KGFuncCorpus(KGFuncConfig(train_per_operation=1600))),
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one builder cost.

    Attributes:
        examples: Examples streamed over all splits.
        seconds: Wall time for building and streaming.
        cpu_seconds: Processor time for the same; less than ``seconds`` where other programs wanted the core.
        start_mib: Peak resident memory before.
        peak_mib: Peak resident memory after.
    """

    examples: int
    seconds: float
    cpu_seconds: float
    start_mib: float
    peak_mib: float


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it started this process
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure(name: str) -> Measurement:
    builder = BUILDERS[name]
    start_mib, began, cpu_began = _peak_mib(), time.perf_counter(), time.process_time()
    corpus = builder.make()
    examples = sum(sum(1 for _ in corpus.iter_split(split)) for split in builder.splits or corpus.split_names())
    return Measurement(
        examples=examples,
        seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu_began,
        start_mib=start_mib,
        peak_mib=_peak_mib(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"builders to run; default all: {', '.join(BUILDERS)}")
    names = parser.parse_args().names or list(BUILDERS)
    if unknown := [name for name in names if name not in BUILDERS]:
        parser.error(f"no builder {unknown[0]!r}; there are {', '.join(BUILDERS)}")
    print("| corpus | examples | seconds | CPU seconds | peak MiB | above start MiB |\n|---|---|---|---|---|---|")
    for name in names:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(measure, name).result()
        times = f"{found.seconds:.1f} | {found.cpu_seconds:.1f}"
        memory = f"{found.peak_mib:.0f} | {found.peak_mib - found.start_mib:.1f}"
        print(f"| {name} | {found.examples:,} | {times} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
