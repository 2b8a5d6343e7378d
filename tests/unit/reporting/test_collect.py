"""Runs put together: equal but for their seeds, means and deviations by hand."""

import statistics

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.errors import RunDirectoryError
from nemo_mixsd.report import MethodRow
from nemo_mixsd.reporting.collect import Spread, group_runs, open_runs, row_metrics, seeds, spread
from tests.reports import make_run


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_spread_is_mean_and_deviation(values):
    found = spread(values)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.sd == pytest.approx(statistics.stdev(values), abs=1e-9)
    assert found.n == len(values)


def test_spread_of_one_and_none():
    assert spread([2.0]) == Spread(2.0, None, 1)
    assert spread([]) is None


def change(path, **keys):
    config = yaml.safe_load((path / "config.yaml").read_text())
    for dotted, value in keys.items():
        *sections, leaf = dotted.split("__")
        place = config
        for section in sections:
            place = place[section]
        if value is None:
            place.pop(leaf)
        else:
            place[leaf] = value
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    return path


def test_runs_are_grouped_by_all_but_their_seeds(tmp_path):
    paths = [make_run(tmp_path / f"s{seed}", seed, count=6) for seed in range(3)]
    change(paths[1], mixing__max_in_flight=7, method=["sft"])  # changes no result
    other = change(make_run(tmp_path / "lr", 0, count=6), mixing__max_new_tokens=9)
    older = change(make_run(tmp_path / "older", 4, count=6), mixing__accept_truncated=None)  # before that key existed
    groups = group_runs(open_runs([*paths, other, older]))
    assert [[run.label for run in group.runs] for group in groups] == [["s0", "s1", "s2", "older"], ["lr"]]
    assert "mixing.seed=2" in seeds(groups[0].runs[2])
    assert groups[0].title == "kgfact on owner/model"


def test_means_over_runs(tmp_path):
    runs = open_runs([make_run(tmp_path / f"s{seed}", seed, count=10, forgetting=seed) for seed in range(3)])
    group = group_runs(runs)[0]
    found = group.spreads("sft")["forgetting_nats"]
    assert (found.mean, found.sd, found.n) == (pytest.approx(1.5), pytest.approx(0.1), 3)
    assert group.spreads("base")["forgetting_nats"] == Spread(0.0, 0.0, 3)
    del runs[0].report.methods["sft"]
    assert group.spreads("sft")["forgetting_nats"].n == 2
    assert group.methods[0] == "base"
    assert "sft" in group.methods


def test_metrics_of_a_row_leave_out_what_was_not_measured():
    row = MethodRow(
        splits={"train": 0.5, "two_hop": None}, heldout={"a": 0.2, "b": 0.4}, forgetting_nats=0.0,
        targets={"mean_nll": None, "frac_nll_gt_8": 0.1, "n": 4}, displacement={"alignment": 1.1},
    )  # fmt: skip
    assert row_metrics(row) == {
        "split:train": 0.5, "heldout:a": 0.2, "heldout:b": 0.4, "heldout_mean": pytest.approx(0.3),
        "forgetting_nats": 0.0, "frac_nll_gt_8": 0.1, "displacement:alignment": 1.1,
    }  # fmt: skip
    assert "heldout_mean" not in row_metrics(MethodRow(heldout={"a": 0.2, "b": None}))


def test_bad_paths(tmp_path):
    run = make_run(tmp_path / "a" / "run", count=3)
    with pytest.raises(RunDirectoryError, match="no run directory"):
        open_runs([tmp_path])
    with pytest.raises(RunDirectoryError, match="named twice"):
        open_runs([run, run.parent / "." / "run"])
    labels = [view.label for view in open_runs([run, make_run(tmp_path / "b" / "run", count=3)])]
    assert labels == ["a/run", "b/run"]
