"""Every real gold answer, in ten surface forms, is scored right, and an answer near it is scored wrong.

Reads the folder that NEMO_MIXSD_DATA names; skipped where it is not set.
"""

import os
from pathlib import Path

import pytest

from nemo_mixsd.evals.benchmarks import BENCHMARKS
from tests.unit.evals.benchmarks.surface import choice_forms, math_forms, number_forms, perturbed

DATA = os.environ.get("NEMO_MIXSD_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA or not Path(DATA).is_dir(), reason="NEMO_MIXSD_DATA names no folder of benchmarks"),
]
ENOUGH = 0.995


def forms(problem, kind, gold, other):
    if kind == "choice":
        return choice_forms(gold, other, problem.meta["choices"])
    return number_forms(gold, other) if kind == "number" else math_forms(gold, other)


def another(problem, kind):
    gold = problem.gold[0]
    return "ABCD"[("ABCD".index(gold) + 1) % 4] if kind == "choice" else perturbed(gold)


@pytest.mark.parametrize("name", ["aime2024", "math500", "gsm8k", "mmlu"])
def test_gold_answers_in_ten_forms_and_wrong_ones(name):
    benchmark = BENCHMARKS[name]()
    problems = benchmark.load(Path(DATA))
    wrong, accepted, total = [], [], 0
    for problem in problems:
        gold, other = problem.gold[0], another(problem, benchmark.kind)
        good = forms(problem, benchmark.kind, gold, other)
        bad = forms(problem, benchmark.kind, other, gold)
        assert len(good) == 10
        total += 10
        wrong += [(problem.id, form, text) for form, text in good.items() if not benchmark.score(problem, text).correct]
        accepted += [(problem.id, form, text) for form, text in bad.items() if benchmark.score(problem, text).correct]
    listing = "\n".join(map(str, [*wrong[:40], "accepted:", *accepted[:40]]))
    assert len(wrong) <= (1 - ENOUGH) * total, listing
    assert len(accepted) <= (1 - ENOUGH) * total, listing
    print(f"{name}: {len(wrong)} of {total} right forms rejected, {len(accepted)} wrong ones accepted\n{listing}")
