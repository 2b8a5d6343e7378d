"""The runner: every response kept, none generated twice, intervals, subsets shown, scorers that fail are errors."""

import json
from contextlib import contextmanager
from typing import ClassVar

import pytest

from nemo_mixsd.errors import ConfigError, JournalError, PromptError, RunDirectoryError, ScoringError
from nemo_mixsd.evals.benchmarks import Benchmark, BenchmarkResponse, Problem, Verdict
from nemo_mixsd.evals.config import EvalsConfig
from nemo_mixsd.evals.heldout import (
    HeldoutScore,
    HeldoutSet,
    Limits,
    evaluate_benchmarks,
    longest_request,
    summarise_responses,
)
from nemo_mixsd.evals.heldout_plan import describe_sets, heldout_sets
from nemo_mixsd.evals.intervals import bootstrap, wilson
from nemo_mixsd.io import read_json, read_jsonl
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from tests.samples import ScriptedEngine
from tests.tiny import EOS, WORDS

BLUE, GREEN = WORDS.index("blue"), WORDS.index("green")


class Colours(Benchmark):
    name: ClassVar[str] = "gsm8k"  # a name that exists, so that configuration and report know it
    kind: ClassVar[str] = "choice"
    fails_on: ClassVar[str] = ""

    def problem(self, row):
        raise NotImplementedError

    def score(self, problem, response):
        if problem.id == self.fails_on:
            raise ZeroDivisionError("no colour")
        word = response.split()[0] if response else None
        return Verdict(word in problem.gold, word, "" if word in problem.gold else "another colour")


PROBLEMS = tuple(
    Problem(f"p{i}", f"what is the colour of w{i} ?", ("blue",) if i % 3 else ("green",), "sky" if i < 4 else "sea")
    for i in range(8)
)


def chosen(benchmark=None, problems=PROBLEMS, **changes):
    fields = {"total": len(problems), "seed": 0, "samples": 1, "max_new_tokens": 5, "sampling": Sampling(), **changes}
    return HeldoutSet(benchmark or Colours(), problems, **fields)


def says_blue(ids):
    return EOS if ids[-1] == BLUE else BLUE


class Engines:
    """Opens scripted engines and remembers them."""

    def __init__(self, step=says_blue, make=ScriptedEngine):
        self.step, self.make, self.opened = step, make, []

    @contextmanager
    def __call__(self, sampling, longest):
        engine = self.make(self.step)
        self.opened.append((sampling, longest, engine))
        yield engine

    @property
    def submitted(self):
        return [request for _, _, engine in self.opened for request in engine.submitted]


@pytest.fixture
def renderer(tiny_tokenizer):
    return PromptRenderer(tiny_tokenizer, PromptTemplates("{question}", "{answer} {question}"))


@pytest.fixture
def where(tmp_path):
    return tmp_path / "evals" / "sft" / "6"


def test_responses_are_judged_and_everything_is_kept(renderer, where):
    engines = Engines()
    scores = evaluate_benchmarks(engines, renderer, [chosen()], where, Limits(3))
    score = scores["gsm8k"]
    assert (score.correct, score.accuracy, score.problems, score.truncated) == (5, 5 / 8, 8, 0)
    assert (score.low, score.high, score.interval) == (wilson(5, 8).low, wilson(5, 8).high, "wilson")
    assert score.subjects == {"sea": 3 / 4, "sky": 2 / 4}
    records = list(read_jsonl(where / "gsm8k.jsonl", BenchmarkResponse))
    assert [r.problem_id for r in records] == [p.id for p in PROBLEMS]
    assert records[0] == BenchmarkResponse(
        "p0", 1, PROBLEMS[0].prompt, "blue", (BLUE, EOS), "stop", "blue", False, ("green",), "another colour", "sky"
    )
    assert sorted(p.name for p in where.iterdir()) == ["gsm8k.json", "gsm8k.jsonl"]
    assert read_json(where / "gsm8k.json")["accuracy"] == 5 / 8


def test_a_finished_benchmark_opens_no_engine(renderer, where):
    first = evaluate_benchmarks(Engines(), renderer, [chosen()], where, Limits(3))
    engines = Engines()
    assert evaluate_benchmarks(engines, renderer, [chosen()], where, Limits(7)) == first
    assert engines.opened == []


class Stop(Exception):
    pass


@pytest.mark.parametrize("fail_after", range(1, 8))
def test_no_response_is_generated_twice(renderer, where, fail_after):
    class Failing(ScriptedEngine):
        def poll(self):
            results = super().poll()
            Failing.given += len(results)
            if Failing.given > fail_after:
                raise Stop
            return results

    Failing.given = 0
    first = Engines(make=lambda step: Failing(step, per_poll=1))
    with pytest.raises(Stop):
        evaluate_benchmarks(first, renderer, [chosen()], where, Limits(2))
    again = Engines()
    score = evaluate_benchmarks(again, renderer, [chosen()], where, Limits(2))["gsm8k"]
    assert len(again.submitted) == 8 - fail_after
    assert score.correct == 5


def test_a_scorer_that_fails_names_the_record_and_costs_no_generation(renderer, where, monkeypatch):
    monkeypatch.setattr(Colours, "fails_on", "p5")
    with pytest.raises(ScoringError, match=r"gsm8k: judging 'p5', sample 1, failed: ZeroDivisionError: no colour"):
        evaluate_benchmarks(Engines(), renderer, [chosen()], where, Limits(3))
    assert not (where / "gsm8k.json").exists() and not (where / "gsm8k.jsonl").exists()
    monkeypatch.setattr(Colours, "fails_on", "")
    engines = Engines()
    assert evaluate_benchmarks(engines, renderer, [chosen()], where, Limits(3))["gsm8k"].correct == 5
    assert engines.opened == []


@pytest.mark.parametrize("workers", [1, 4])
def test_judging_at_the_same_time_changes_nothing(renderer, where, workers, tmp_path):
    evaluate_benchmarks(Engines(), renderer, [chosen(workers=workers)], where, Limits(3))
    evaluate_benchmarks(Engines(), renderer, [chosen()], tmp_path / "b" / "0", Limits(8))
    for name in ("gsm8k.json", "gsm8k.jsonl"):
        assert (where / name).read_bytes() == (tmp_path / "b" / "0" / name).read_bytes()


def test_several_samples(renderer, where):
    several = chosen(samples=4, sampling=Sampling(0.7, None, 3), seed=3)
    engines = Engines(step=lambda ids: EOS if ids[-1] in (BLUE, GREEN) else BLUE)
    score = evaluate_benchmarks(engines, renderer, [several], where, Limits(3))["gsm8k"]
    requests = {(r.key, r.attempt) for r in engines.submitted}
    assert requests == {(f"p{i}/s{k}", k) for i in range(8) for k in range(1, 5)}
    shares = [float(i % 3 != 0) for i in range(8)]
    expected = bootstrap(shares, 3)
    assert (score.low, score.high, score.interval) == (expected.low, expected.high, "bootstrap")
    assert (score.metric, score.samples, score.label) == ("avg@4", 4, "gsm8k (avg@4)")
    assert engines.opened[0][0] == Sampling(0.7, None, 3)
    assert [r.sample for r in read_jsonl(where / "gsm8k.jsonl", BenchmarkResponse)] == [1, 2, 3, 4] * 8


def record(problem, sample, correct):
    return BenchmarkResponse(problem, sample, "q", "r", (1,), "stop", None, correct, (), "", "")


@pytest.mark.parametrize("right", [False, True])
def test_all_or_nothing_is_no_interval_of_width_zero(right):
    records = [record(f"p{i}", k, right) for i in range(5) for k in (1, 2)]
    score = summarise_responses(chosen(problems=PROBLEMS[:5], samples=2), records)
    assert (score.low, score.high) == (wilson(5 * right, 5).low, wilson(5 * right, 5).high)


def test_a_subset_says_so(renderer, where):
    score = evaluate_benchmarks(Engines(), renderer, [chosen(total=1319)], where, Limits())["gsm8k"]
    assert score.label == "gsm8k (8 of 1319, seed 0)"
    assert chosen(total=8).total == 8


@pytest.mark.parametrize(
    "change", [{"max_new_tokens": 6}, {"seed": 1}, {"total": 9}, {"problems": PROBLEMS[:7]}, {"samples": 2}]
)
def test_results_of_other_settings_are_not_taken(renderer, where, change):
    evaluate_benchmarks(Engines(), renderer, [chosen()], where, Limits())
    with pytest.raises(RunDirectoryError, match=r"gsm8k.json was made with other settings or problems"):
        evaluate_benchmarks(Engines(), renderer, [chosen(**change)], where, Limits())


def test_an_unfinished_journal_of_other_settings_is_not_taken(renderer, where, monkeypatch):
    monkeypatch.setattr(Colours, "fails_on", "p5")
    with pytest.raises(ScoringError):
        evaluate_benchmarks(Engines(), renderer, [chosen()], where, Limits())
    with pytest.raises(JournalError, match="belongs to another configuration"):
        evaluate_benchmarks(Engines(), renderer, [chosen(seed=1)], where, Limits())


def test_the_context_limits_the_response_and_refuses_what_does_not_fit(renderer, where):
    engines = Engines(step=lambda ids: GREEN)
    length = len(renderer.encode(PROBLEMS[0].prompt))
    assert longest_request([chosen()], renderer, None) == length + 5
    score = evaluate_benchmarks(engines, renderer, [chosen()], where, Limits(3, length + 2))["gsm8k"]
    assert {r.max_tokens for r in engines.submitted} == {2}
    assert engines.opened[0][1] == length + 2
    assert score.truncated == 8
    with pytest.raises(PromptError, match=rf"gsm8k: the prompt of 'p0' has {length} tokens, and the model's context"):
        evaluate_benchmarks(engines, renderer, [chosen()], where, Limits(3, length))
    assert longest_request([], renderer, None) == 0


def test_benchmarks_of_one_sampling_share_an_engine(renderer, where):
    class Others(Colours):
        name: ClassVar[str] = "mmlu"

    class Hot(Colours):
        name: ClassVar[str] = "aime2024"

    engines = Engines()
    sets = [chosen(), chosen(Hot(), sampling=Sampling(0.6)), chosen(Others())]
    assert list(evaluate_benchmarks(engines, renderer, sets, where, Limits())) == ["gsm8k", "aime2024", "mmlu"]
    assert [sampling for sampling, _, _ in engines.opened] == [Sampling(), Sampling(0.6)]


# ---- from a recipe -------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    rows = [{"question": f"{i} + {i}?", "answer": f"so\n#### {2 * i}"} for i in range(20)]
    (tmp_path / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_options_override_the_benchmark(data):
    evals = EvalsConfig(
        benchmarks=["gsm8k", "gsm8k"],
        benchmarks_path=str(data),
        benchmarks_limit=7,
        benchmark={"gsm8k": {"samples": 2, "temperature": 0.5, "top_k": 9, "seed": 4, "max_new_tokens": 33}},
    )
    (found,) = heldout_sets(evals)
    assert (len(found.problems), found.total, found.samples, found.max_new_tokens) == (7, 20, 2, 33)
    assert found.sampling == Sampling(0.5, 9, 4)
    assert describe_sets([found], ["arc_easy"]) == "gsm8k 7 of 20 x 2 samples, lm-eval arc_easy"
    greedy = EvalsConfig(benchmarks=["gsm8k"], benchmark={"gsm8k": {"path": str(data / "gsm8k_test.jsonl"), "seed": 4}})
    (found,) = heldout_sets(greedy)
    assert (found.sampling, found.seed, len(found.problems), found.samples) == (Sampling(), 4, 20, 1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"benchmarks": ["gsm9k"]}, ValueError, "no benchmark 'gsm9k'; choose from aime2024"),
        ({"benchmark": {"gsm9k": {}}}, ValueError, "no benchmark 'gsm9k'"),
        ({"benchmark": {"gsm8k": {"samples": 4}}}, ConfigError, "samples=4 at temperature 0 are all the same"),
        ({"benchmarks": ["humaneval"]}, ConfigError, "only with evals.sandbox.allow=true"),
    ],
)
def test_options_that_do_not_fit(data, changes, error, message):
    with pytest.raises(error, match=message):
        heldout_sets(EvalsConfig(**{"benchmarks": ["gsm8k"], "benchmarks_path": str(data), **changes}))


def test_a_score_is_what_its_file_says():
    score = HeldoutScore("mmlu", 0.5, 0.4, 0.6, "wilson", 10, 20, 1, 3, 5, 0, "accuracy", {"a": 0.5}, "k")
    assert score.label == "mmlu (10 of 20, seed 3)"
