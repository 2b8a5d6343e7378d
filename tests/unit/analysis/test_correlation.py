"""Coefficients by hand and against scipy; the interval against a bootstrap of its own."""

import json

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.analysis.correlation import (
    Point,
    bootstrap,
    collect_points,
    correlate,
    correlation_table,
    pearson,
    ranks,
    spearman,
)
from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.analysis.scatter import draw_scatter
from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.io import write_json, write_jsonl
from nemo_mixsd.types import to_record
from tests.samples import make_config


def test_by_hand():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 6.0])
    assert pearson(x, y) == pytest.approx(4 / np.sqrt(2 * 14))
    assert spearman(x, y) == pytest.approx(0.5)
    assert pearson(x, -2 * x + 1) == -1
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize("x", [[1.0], [], [0.1, 0.1, 0.1]])
def test_not_defined_is_none(x):
    x = np.array(x)
    assert pearson(x, np.arange(len(x)).astype(float)) is None
    assert spearman(x, np.arange(len(x)).astype(float)) is None


VALUES = st.lists(st.tuples(st.integers(-5, 5), st.integers(-50, 50)), min_size=3, max_size=30)


@given(VALUES)
def test_equals_scipy(pairs):
    stats = pytest.importorskip("scipy.stats")
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert pearson(x, y) is spearman(x, y) is None
        return
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_interval():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(40)
    y = 0.8 * x + 0.6 * rng.standard_normal(40)
    found = bootstrap(pearson, x, y, seed=1, resamples=1000)
    draws = []
    for _ in range(4000):
        rows = rng.integers(0, 40, 40)
        draws.append(np.corrcoef(x[rows], y[rows])[0, 1])
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert (found.low, found.high) == (
        pytest.approx(np.quantile(draws, 0.025), abs=0.05), pytest.approx(np.quantile(draws, 0.975), abs=0.05),
    )  # fmt: skip
    assert bootstrap(pearson, x, y, seed=1, resamples=1000) == found != bootstrap(pearson, x, y, seed=2, resamples=1000)


def points(count=12):
    rng = np.random.default_rng(3)
    out = []
    for i in range(count):
        alignment = float(rng.uniform(0.5, 1.5))
        raw = float(rng.uniform(1, 100))
        forgetting = alignment + 0.05 * float(rng.standard_normal())
        out.append(Point("run", ("sft", "mixsd@0.3")[i % 2], i, forgetting, raw, raw * alignment, alignment))
    return out


def test_what_goes_with_forgetting_is_found(tmp_path):
    found = {row.metric: row for row in correlate(points(), resamples=200)}
    assert list(found) == ["raw", "fisher_weighted", "alignment"]
    assert found["alignment"].pearson.value > 0.95 > abs(found["raw"].pearson.value)
    assert found["alignment"].pearson.low > 0.8
    header, rows = correlation_table(list(found.values()))
    assert len(header) == len(rows[0]) and rows[2][:2] == ["alignment", "12"]
    draw_scatter(points(), list(found.values()), tmp_path / "figures" / "s.png")
    assert (tmp_path / "figures" / "s.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_fisher_only_raw_is_correlated():
    bare = [Point(p.run, p.name, p.step, p.forgetting, p.raw) for p in points()]
    found = {row.metric: row for row in correlate(bare, resamples=0)}
    assert found["raw"].pearson.value is not None and found["raw"].pearson.low is None
    assert (found["alignment"].n, found["alignment"].pearson.value) == (0, None)
    assert correlation_table([found["alignment"]])[1] == [["alignment", "0", "–", "–", "–", "–"]]


def test_two_checkpoints_are_too_few():
    with pytest.raises(AnalysisError, match="at least three"):
        correlate(points(2))


def heldout(share):
    return HeldoutScore("gsm8k", share, None, None, "", 10, 10, 1, 0, int(10 * share), 0, "accuracy")


def test_points_of_a_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    write_jsonl(run / "evals" / "base" / "0" / "reference_nll.jsonl", [TokenNLL("a", (1.0, 2.0))])
    for step, extra in ((2, 0.5), (10, 1.0)):
        write_jsonl(run / "evals" / "sft" / str(step) / "reference_nll.jsonl", [TokenNLL("a", (1.0 + extra, 2.0))])
        record = {"raw": 3.0 * step, "fisher_weighted": 1.0, "alignment": 0.5}
        write_json(run / "analysis" / "displacement" / "sft" / f"{step}.json", record)
    write_json(run / "analysis" / "displacement" / "sft" / "5.json", record)  # not evaluated
    assert collect_points([run]) == [
        Point("run", "sft", 2, 0.25, 6.0, 1.0, 0.5), Point("run", "sft", 10, 0.5, 30.0, 1.0, 0.5),
    ]  # fmt: skip
    with pytest.raises(AnalysisError, match="no run directory"):
        collect_points([tmp_path])
    assert collect_points([run], "heldout") == []
    for name, step, share in (("base", 0, 0.9), ("sft", 2, 0.5)):
        write_json(run / "evals" / name / str(step) / "gsm8k.json", to_record(heldout(share)))
    assert [(p.step, p.forgetting) for p in collect_points([run], "heldout")] == [(2, pytest.approx(40.0))]
    assert json.loads((run / "analysis" / "displacement" / "sft" / "2.json").read_text())["raw"] == 6.0
