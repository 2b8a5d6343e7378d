"""The runner: any benchmark with any engine, resumable by response, every response and verdict kept.

For each benchmark two files in ``evals/<name>/<step>/``: ``<benchmark>.jsonl`` with a ``BenchmarkResponse`` a line, and
``<benchmark>.json`` with the ``HeldoutScore``, written last. Responses are journaled as they are finished and judged
when all are there, so that a scorer that fails costs no generation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nemo_mixsd.errors import PromptError, RunDirectoryError, ScoringError
from nemo_mixsd.evals.benchmarks import Benchmark, BenchmarkResponse, Problem
from nemo_mixsd.evals.intervals import Interval, bootstrap, wilson
from nemo_mixsd.evals.respond import Prompt, respond
from nemo_mixsd.io import read_json, write_json, write_jsonl
from nemo_mixsd.mixing.engines.base import Engine, Sampling
from nemo_mixsd.mixing.journal import Journal, fingerprint
from nemo_mixsd.progress import track
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.types import FinishReason, from_record, to_record


@dataclass(frozen=True, slots=True)
class HeldoutSet:
    """A benchmark as it is to be run.

    Attributes:
        benchmark: The benchmark.
        problems: The problems to answer.
        total: How many it has in all.
        seed: Of the subset and of the samples.
        samples: Responses a problem.
        max_new_tokens: Longest response.
        sampling: Temperature, top-k and seed of the samples.
        workers: Responses judged at the same time; more than one where judging waits for other processes.
    """

    benchmark: Benchmark
    problems: tuple[Problem, ...]
    total: int
    seed: int
    samples: int
    max_new_tokens: int
    sampling: Sampling
    workers: int = 1

    @property
    def name(self) -> str:
        """The benchmark's name."""
        return self.benchmark.name


@dataclass(frozen=True, slots=True)
class HeldoutScore:
    """The result of a benchmark on one checkpoint.

    Attributes:
        benchmark: Its name; a task of lm-eval is ``lm_eval/<task>``.
        accuracy: Share of right responses: over problems, and with several samples over samples too (avg@n).
        low: Lower end of the 95 % interval; None if it is not known.
        high: Upper end.
        interval: How the interval was made.
        problems: Problems answered.
        total: Problems that the benchmark has; more than ``problems`` for a subset.
        samples: Responses a problem.
        seed: Of the subset and the samples.
        correct: Right responses.
        truncated: Responses cut off by their length limit.
        metric: What ``accuracy`` is.
        subjects: Accuracy by subject, where the benchmark has subjects.
        key: Digest of the prompts and settings.
    """

    benchmark: str
    accuracy: float
    low: float | None
    high: float | None
    interval: str
    problems: int
    total: int
    samples: int
    seed: int
    correct: int
    truncated: int
    metric: str
    subjects: dict[str, float] = field(default_factory=dict)
    key: str = ""

    @property
    def label(self) -> str:
        """``gsm8k``, with what was left out or repeated: ``gsm8k (50 of 1319, seed 0)``, ``aime2024 (avg@8)``."""
        notes = [] if self.samples == 1 else [f"avg@{self.samples}"]
        if self.problems < self.total:
            notes += [f"{self.problems} of {self.total}", f"seed {self.seed}"]
        return f"{self.benchmark} ({', '.join(notes)})" if notes else self.benchmark


@dataclass(frozen=True, slots=True)
class Generated:
    """A response before it is judged; what the journal holds."""

    example_id: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason


OpenEngine = Callable[[Sampling, int], AbstractContextManager[Engine]]
"""Makes an engine over the model: how to sample, and the longest prompt and response together, in tokens."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the model and the machine allow.

    Attributes:
        in_flight: Responses generated at the same time.
        context: Longest prompt and response together, in tokens; None if the model does not say.
    """

    in_flight: int = 32
    context: int | None = None


def evaluate_benchmarks(
    open_engine: OpenEngine, renderer: PromptRenderer, sets: Sequence[HeldoutSet], directory: Path, limits: Limits
) -> dict[str, HeldoutScore]:
    """Run benchmarks on one model, or go on where a killed evaluation stopped; an engine is opened only if needed.

    Args:
        open_engine: Engines over the model.
        renderer: Applies the chat template.
        sets: What to run.
        directory: Gets two files a benchmark.
        limits: How many at a time, and how long.

    Returns:
        Scores by benchmark, in the order of ``sets``.

    Raises:
        PromptError: A prompt is longer than the model's context; before anything is generated.
        RunDirectoryError: ``directory`` holds a result of other settings.
        ScoringError: A scorer failed; the text names the record, and the responses are kept.
        EngineError: The engine refused a prompt or died.
    """
    tasks = [_Task(chosen, renderer, directory / f"{chosen.name}.jsonl", limits) for chosen in sets]
    groups: dict[Sampling, list[_Task]] = defaultdict(list)
    for task in tasks:
        if task.score is None:
            groups[task.chosen.sampling].append(task)
    for sampling, group in groups.items():
        open_ones = [task for task in group if task.missing()]
        if open_ones:
            longest = max(task.longest for task in open_ones)
            with open_engine(sampling, longest) as engine:
                for task in open_ones:
                    task.generate(engine)
        for task in group:
            task.judge(renderer.decode)
    return {task.chosen.name: task.finished() for task in tasks}


def longest_request(sets: Sequence[HeldoutSet], renderer: PromptRenderer, context: int | None) -> int:
    """Longest prompt and response of all ``sets`` together, in tokens; 0 for none. ``context`` as in ``Limits``."""
    prompts = (prompt for chosen in sets for prompt in _prompts(chosen, renderer, Limits(context=context)))
    return max((len(p.token_ids) + (p.max_new_tokens or 0) for p in prompts), default=0)


class _Task:
    """One benchmark on one model."""

    def __init__(self, chosen: HeldoutSet, renderer: PromptRenderer, path: Path, limits: Limits) -> None:
        self.chosen, self.path, self.limits = chosen, path, limits
        self.prompts = list(_prompts(chosen, renderer, limits))
        self.longest = max(len(p.token_ids) + (p.max_new_tokens or 0) for p in self.prompts)
        settings = (chosen.seed, chosen.samples, chosen.max_new_tokens, chosen.total, to_record(chosen.sampling))
        content = [(p.id, fingerprint(p.token_ids), p.max_new_tokens) for p in self.prompts]
        gold = [(p.gold, p.meta) for p in chosen.problems]
        self.key = fingerprint("heldout", chosen.name, settings, content, gold)
        self.summary = path.with_suffix(".json")
        self.score = self._known()
        self._journal: Journal | None = None

    def _known(self) -> HeldoutScore | None:
        if not self.summary.exists():
            return None
        score = from_record(HeldoutScore, read_json(self.summary))
        if score.key != self.key:
            raise RunDirectoryError(
                f"{self.summary} was made with other settings or problems (it is {score.label}); choose another "
                f"directory, or delete it and {self.path} to run {self.chosen.name} again"
            )
        return score

    @property
    def journal(self) -> Journal:
        """Responses that are finished."""
        if self._journal is None:
            self._journal = Journal(
                self.path.with_name(f".{self.path.name}.journal"), self.key, {"response": Generated}
            )
        return self._journal

    def missing(self) -> bool:
        """Whether there is something to generate."""
        return any(prompt.id not in self.journal for prompt in self.prompts)

    def generate(self, engine: Engine) -> None:
        """Generate what is not in the journal."""
        todo = (prompt for prompt in self.prompts if prompt.id not in self.journal)
        label = f"answer {self.path.parent.parent.name}/{self.chosen.name}"
        with track(label, len(self.prompts), "responses", len(self.journal)) as task:
            for key, result in respond(engine, todo, self.chosen.max_new_tokens, self.limits.in_flight):
                self.journal.append(Generated(key, result.token_ids, result.finish_reason))
                task.advance()

    def judge(self, decode: Callable[[tuple[int, ...]], str]) -> None:
        """Judge every response and write both files."""
        samples = range(1, self.chosen.samples + 1)
        pairs = [(problem, sample) for problem in self.chosen.problems for sample in samples]
        found: list[Generated] = [self.journal.read(_key(*pair)) for pair in pairs]
        texts = [decode(generated.token_ids) for generated in found]
        records: list[BenchmarkResponse] = []
        with (
            track(f"judge {self.chosen.name}", len(pairs), "responses") as task,
            ThreadPoolExecutor(self.chosen.workers, "judge") as pool,
        ):
            judged = pool.map(partial(_judged, self.chosen.benchmark), pairs, texts, found)
            try:
                for record in judged:
                    records.append(record)
                    task.advance()
            except ScoringError:
                pool.shutdown(cancel_futures=True)
                raise
        write_jsonl(self.path, records)
        self.score = summarise_responses(self.chosen, records, self.key)
        write_json(self.summary, to_record(self.score))
        self.journal.remove()
        self._journal = None

    def finished(self) -> HeldoutScore:
        """The score, which is there by now."""
        assert self.score is not None
        return self.score


def _key(problem: Problem, sample: int) -> str:
    return f"{problem.id}/s{sample}"


def _prompts(chosen: HeldoutSet, renderer: PromptRenderer, limits: Limits) -> Iterator[Prompt]:
    for problem in chosen.problems:
        ids = renderer.encode(problem.prompt)
        room = chosen.max_new_tokens
        if limits.context is not None:
            room = min(room, limits.context - len(ids))
        if room < 1:
            raise PromptError(
                f"{chosen.name}: the prompt of {problem.id!r} has {len(ids)} tokens, and the model's context is "
                f"{limits.context}: leave the benchmark out, or use a model with a longer context"
            )
        for sample in range(1, chosen.samples + 1):
            yield Prompt(_key(problem, sample), ids, sample, room)


def _judged(benchmark: Benchmark, pair: tuple[Problem, int], response: str, found: Generated) -> BenchmarkResponse:
    problem, sample = pair
    try:
        verdict = benchmark.score(problem, response)
    except Exception as error:
        raise ScoringError(
            f"{benchmark.name}: judging {problem.id!r}, sample {sample}, failed: {type(error).__name__}: {error}. The "
            "responses are kept: start the same command again when the cause is gone"
        ) from error
    return BenchmarkResponse(
        problem_id=problem.id,
        sample=sample,
        prompt=problem.prompt,
        response=response,
        token_ids=found.token_ids,
        finish_reason=found.finish_reason,
        extracted=verdict.extracted,
        correct=verdict.correct,
        gold=problem.gold,
        detail=verdict.detail,
        subject=problem.subject,
    )


def summarise_responses(chosen: HeldoutSet, records: Sequence[BenchmarkResponse], key: str = "") -> HeldoutScore:
    """Accuracy and interval of judged responses."""
    by_problem: dict[str, list[bool]] = defaultdict(list)
    by_subject: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        by_problem[record.problem_id].append(record.correct)
        by_subject[record.subject].append(record.correct)
    correct = sum(record.correct for record in records)
    shares = [sum(verdicts) / len(verdicts) for verdicts in by_problem.values()]
    interval = _interval(shares, chosen)
    subjects = {subject: sum(v) / len(v) for subject, v in sorted(by_subject.items()) if subject}
    return HeldoutScore(
        benchmark=chosen.name,
        accuracy=correct / len(records),
        low=interval.low,
        high=interval.high,
        interval=interval.method,
        problems=len(chosen.problems),
        total=chosen.total,
        samples=chosen.samples,
        seed=chosen.seed,
        correct=correct,
        truncated=sum(record.finish_reason == "length" for record in records),
        metric="accuracy" if chosen.samples == 1 else f"avg@{chosen.samples}",
        subjects=subjects if len(subjects) < 100 and chosen.benchmark.kind != "instructions" else {},
        key=key,
    )


def _interval(shares: Sequence[float], chosen: HeldoutSet) -> Interval:
    """Wilson for one sample a problem, bootstrap over problems for more.

    Where every problem is right in all samples or wrong in all, resampling would give an interval of width 0; then
    each problem counts as one trial.
    """
    if chosen.samples == 1 or set(shares) in ({0.0}, {1.0}):
        return wilson(round(sum(shares)), len(shares))
    return bootstrap(shares, chosen.seed)
