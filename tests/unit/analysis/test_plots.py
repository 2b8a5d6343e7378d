"""Figures: drawn where there is data, left out where there is none."""

import pytest

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.analysis.plots import _tradeoff, draw_figures
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.report import Checkpoint, MethodRow, Report


def report(**rows):
    return Report("owner/model", "jsonl", {name.replace("_", "@0."): row for name, row in rows.items()})


def row(accuracy, forgetting, checkpoints=()):
    splits = {} if accuracy is None else {"train": accuracy, "extra": 0.0}
    return MethodRow(splits=splits, forgetting_nats=forgetting, checkpoints=list(checkpoints))


def keep_nll(run_dir, name, *values):
    write_jsonl(run_dir / "analysis" / "target_nll" / f"{name}.jsonl", [TokenNLL("e", tuple(values))])


def test_both_figures(tmp_path):
    curve = [
        Checkpoint(5, {"train": 0.5}, {}, 0.1),
        Checkpoint(9, {"train": None}, {}, 0.2),
        Checkpoint(10, {}, {}, None),
    ]
    keep_nll(tmp_path, "sft", 1.0, 12.0, 30.0)
    keep_nll(tmp_path, "mixsd@0.3", 0.1, 0.2)
    drawn = draw_figures(report(base=row(0.0, 0.0), sft=row(1.0, 1.2, curve), mixsd_3=row(0.9, 0.3)), tmp_path)
    assert [p.name for p in drawn] == ["tradeoff.png", "target_nll_cdf.png"]
    for path in drawn:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(data) > 10_000
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["target_nll_cdf.png", "tradeoff.png"]


def test_one_point_a_method_at_its_place(tmp_path):
    figure = _tradeoff(
        report(base=row(0.25, 0.0), sft=row(1.0, 1.2), mixsd_3=row(0.9, 0.3), opsd=row(None, 3.0)), tmp_path
    )
    (axes,) = figure.axes
    points = {c.get_label(): tuple(c.get_offsets()[0]) for c in axes.collections}
    assert points == {
        "base": (0.0, 25.0),
        "sft": (pytest.approx(1.2), 100.0),
        "mixsd@0.3": (pytest.approx(0.3), pytest.approx(90.0)),
    }
    assert "nats" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()


def test_where_train_is_left_out_the_first_split_is_shown(tmp_path):
    rows = {name: MethodRow(splits={"paraphrase": 0.5, "extra": 0.1}, forgetting_nats=0.2) for name in ("sft", "opsd")}
    (axes,) = _tradeoff(report(**rows), tmp_path).axes
    assert axes.get_ylabel() == "paraphrase accuracy (%)"
    assert [tuple(c.get_offsets()[0]) for c in axes.collections] == [(0.2, 50.0)] * 2


@pytest.mark.parametrize(
    "rows", [{}, {"sft": row(1.0, 1.0)}, {"sft": row(1.0, None), "base": row(0.0, 0.0)}, {"sft": MethodRow()}]
)
def test_no_data_no_figure(tmp_path, rows):
    assert draw_figures(report(**rows), tmp_path) == []
    assert not (tmp_path / "figures").exists()


def test_targets_without_tokens_have_no_line(tmp_path):
    keep_nll(tmp_path, "sft")
    assert draw_figures(report(sft=row(None, None)), tmp_path) == []
    keep_nll(tmp_path, "sft", 2.0)
    assert [p.name for p in draw_figures(report(sft=row(None, None)), tmp_path)] == ["target_nll_cdf.png"]
