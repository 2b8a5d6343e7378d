"""HumanEval in the sandbox, on the real problems: canonical solutions pass, broken ones fail."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.benchmarks.base import Problem
from nemo_mixsd.evals.benchmarks.humaneval import HumanEval
from nemo_mixsd.evals.heldout_plan import make_benchmark
from nemo_mixsd.evals.sandbox import SandboxConfig, SandboxLimits, find_isolation, run_program

# What it gives back is changed a little, by type.
PERTURB = """

_right = {entry}


def _other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, (list, tuple)):
        return type(value)([*value, 1])
    if isinstance(value, dict):
        return {{**value, "x": 1}}
    return 0 if value is None else None


def {entry}(*args, **kwargs):
    return _other(_right(*args, **kwargs))
"""
SMALL = Problem(
    "t/0", "p", (), "", {
        "head": 'import math\n\n\ndef half(x):\n    """Half of x.\n    >>> half(3)\n    1\n    """\n',
        "entry_point": "half",
        "test": "def check(candidate):\n    assert candidate(3) == 1\n    assert candidate(math.inf) == 2\n",
    },
)  # fmt: skip
GOOD = "def half(x):\n    return 2 if x == math.inf else x // 2\n"


@pytest.fixture(scope="module")
def benchmark():
    limits = SandboxLimits(cpu_seconds=20, wall_seconds=60)  # for a busy machine
    return HumanEval(partial(run_program, limits=limits, isolation=find_isolation()))


@pytest.mark.parametrize(
    ("response", "correct", "detail"),
    [
        (f"```python\n{GOOD}```", True, ""),
        (f"Sure.\n```python\n{GOOD}```\nUse it as:\n```python\nprint(half(4))\n```", True, ""),
        (
            "```python\n    return 2 if x == math.inf else x // 2\n```",
            True,
            "",
        ),  # the body alone goes on from the prompt
        ("```python\ndef half(x):\n    return x // 2\n```", False, "AssertionError: "),
        (f"```python\n{GOOD}import sys; sys.exit(0)\n```", False, "SystemExit: 0"),
        (f"```python\n{GOOD}import os; os._exit(0)\n```", False, "left before its end (status 0)"),
        (f"```python\n{GOOD}if __name__ == '__main__':\n    input()\n```", True, ""),
        ("```python\ndef half(x:\n```", False, None),
        ("\\boxed{1}", False, "no fenced code block"),
    ],
)
def test_responses(benchmark, response, correct, detail):
    verdict = benchmark.score(SMALL, response)
    assert verdict.correct is correct, verdict
    if detail is not None:
        assert verdict.detail == detail


def test_nothing_runs_without_consent():
    with pytest.raises(ConfigError, match=r"humaneval.*evals\.sandbox\.allow=true"):
        make_benchmark("humaneval", SandboxConfig())
    assert make_benchmark("humaneval", SandboxConfig(allow=True)).run_program is not None
    with pytest.raises(ConfigError, match="sandbox"):
        HumanEval().score(SMALL, f"```python\n{GOOD}```")


@pytest.fixture(scope="module")
def problems(benchmark):
    folder = os.environ.get("NEMO_MIXSD_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NEMO_MIXSD_DATA names no folder with the data of the benchmarks")
    found = benchmark.load(Path(folder))
    assert len(found) == 164
    return found


def judge(benchmark, problems, response):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda p: benchmark.score(p, f"```python\n{response(p)}\n```"), problems))


def canonical(problem):
    return problem.meta["head"] + problem.meta["canonical_solution"]


@pytest.mark.slow
def test_all_canonical_solutions_pass(benchmark, problems):
    for response in (canonical, lambda p: p.meta["canonical_solution"]):
        verdicts = judge(benchmark, problems, response)
        assert [(p.id, v.detail) for p, v in zip(problems, verdicts, strict=True) if not v.correct] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        lambda p: canonical(p) + PERTURB.format(entry=p.meta["entry_point"]),
        lambda p: p.meta["head"] + "    return None",
    ],
    ids=["perturbed", "returns nothing"],
)
def test_all_broken_solutions_fail(benchmark, problems, broken):
    verdicts = judge(benchmark, problems, broken)
    assert [p.id for p, v in zip(problems, verdicts, strict=True) if v.correct] == []
