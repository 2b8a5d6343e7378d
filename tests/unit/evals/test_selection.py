"""The rule of Appendix D on curves made by hand."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.config import EvalsConfig
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.evals.selection import CurvePoint, read_curve, select_checkpoint, selection_figure, validation_name
from nemo_mixsd.evals.selection_report import check_selection, draw_selections, reported, selection_lines
from nemo_mixsd.report import Checkpoint, MethodRow, Report


def curve(train, validation):
    return [CurvePoint(20 * (i + 1), t, v) for i, (t, v) in enumerate(zip(train, validation, strict=True))]


@pytest.mark.parametrize(
    ("train", "validation", "step", "stable"),
    [
        # plateau: its first point
        ([0.2, 0.7, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5, 0.5], 60, True),
        # a plateau that is left again
        ([0.2, 1.0, 0.9, 0.9], [0.5, 0.5, 0.5, 0.5], 40, True),
        # late drop, out of sight of the first point of the plateau
        ([0.2, 1.0, 1.0, 1.0, 1.0], [0.6, 0.6, 0.6, 0.6, 0.1], 40, True),
        # a drop within the next two: the best one before that is followed by none, not one in the fall at the end
        ([0.5, 0.8, 0.9, 1.0, 1.0, 1.0], [0.9, 0.9, 0.9, 0.88, 0.7, 0.7], 40, True),
        ([0.5, 0.9, 1.0, 1.0, 1.0], [0.7, 0.7, 0.7, 0.7, 0.5], 40, True),
        # fallen, and stable since then: the rule looks forward
        ([0.5, 0.8, 0.9, 1.0, 1.0, 1.0, 1.0], [0.9, 0.9, 0.9, 0.88, 0.7, 0.7, 0.7], 100, True),
        # exactly five points is not more than five points, whatever floating point says
        ([0.5, 1.0, 1.0], [0.85, 0.85, 0.80], 40, True),
        ([0.5, 1.0, 0.9], [0.85, 0.85, 0.79], 60, False),
        ([0.5, 1.0, 1.0], [0.85, 0.80, 0.80], 40, True),
        # a single checkpoint
        ([0.3], [0.2], 20, True),
        # still rising: the last one, judged by nothing after it
        ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5], 60, True),
        # the best one is unstable: the best of those that are stable
        ([0.5, 0.8, 1.0, 0.9], [0.9, 0.9, 0.9, 0.8], 20, True),
        # validation that rises is stable
        ([0.5, 1.0, 1.0], [0.1, 0.5, 0.9], 40, True),
        # never stable
        ([1.0, 0.9, 0.8, 0.7], [0.9, 0.7, 0.5, 0.3], 80, False),
        # the second after counts, the third does not
        ([0.5, 1.0, 0.9, 0.9], [0.9, 0.9, 0.9, 0.6], 20, True),
        ([0.5, 1.0, 0.9, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9, 0.6], 40, True),
    ],
)
def test_curves(train, validation, step, stable):
    chosen = select_checkpoint(curve(train, validation))
    assert (chosen.step, chosen.stable) == (step, stable) == brute_force(train, validation)
    if stable:
        assert f"train {train[step // 20 - 1]:.3f}" in chosen.reason


def brute_force(train, validation):
    """The rule read aloud, with whole thousandths."""
    t, v = [round(1000 * x) for x in train], [round(1000 * x) for x in validation]
    fit = [
        i
        for i in range(len(t))
        if all(t[i] >= t[j] for j in range(i))
        and (i + 2 < len(t) or all(v[j] - v[i] <= 50 for j in (i - 1, i - 2) if j >= 0))
        and not any(v[i] - v[j] > 50 for j in range(i + 1, len(t)) if j <= i + 2)
    ]
    if not fit:
        return 20 * len(t), False
    best = max(t[i] for i in fit)
    return 20 * (min(i for i in fit if t[i] == best) + 1), True


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=8))
def test_the_rule_read_aloud(points):
    train, validation = [t / 20 for t, _ in points], [v / 20 for _, v in points]
    chosen = select_checkpoint(curve(train, validation))
    assert (chosen.step, chosen.stable) == brute_force(train, validation)


def test_never_stable_says_so():
    chosen = select_checkpoint(curve([1.0, 0.9, 0.8], [0.9, 0.5, 0.1]))
    assert chosen.step == 60
    assert not chosen.stable
    assert "no checkpoint is stable" in chosen.reason


@pytest.mark.parametrize("steps", [[], [20, 20], [40, 20]])
def test_no_curve(steps):
    with pytest.raises(ValueError, match="ascending"):
        select_checkpoint([CurvePoint(step, 1.0, 1.0) for step in steps])


@pytest.mark.parametrize(
    ("splits", "wanted", "expected"),
    [
        (["train", "two_hop", "paraphrase"], None, "paraphrase"),
        (["train", "two_hop", "retrieval"], None, "two_hop"),
        (["train"], "gsm8k", "gsm8k"),
    ],
)
def test_validation_name(splits, wanted, expected):
    assert validation_name(splits, wanted) == expected


def test_what_the_plan_refuses():
    with pytest.raises(ConfigError, match="only the split 'train'"):
        check_selection(EvalsConfig(select="paper", checkpoints="all"), ["train"])
    with pytest.raises(ConfigError, match="gsm8k"):
        check_selection(EvalsConfig(select="paper", checkpoints="all", select_validation="gsm8k"), ["train", "test"])
    with pytest.raises(ConfigError, match=r"add 'train'"):
        check_selection(EvalsConfig(select="paper", checkpoints="all", splits=["test"]), ["train", "test"])
    with pytest.raises(ValueError, match=r"evals\.checkpoints=all"):
        EvalsConfig(select="paper")
    assert check_selection(EvalsConfig(select="paper", checkpoints="all"), ["train", "test"]) == "test"
    assert check_selection(EvalsConfig(), ["train"]) == ""


def score(accuracy):
    return HeldoutScore("gsm8k", accuracy, None, None, "", 10, 10, 1, 0, 0, 0, "accuracy")


CHECKPOINTS = [
    Checkpoint(10, {"train": 0.5, "test": 0.5}, {}, 0.1, {"gsm8k": score(0.6)}),
    Checkpoint(20, {"train": 1.0, "test": 0.5}, {}, 0.2, {"gsm8k": score(0.6)}),
    Checkpoint(30, {"train": 1.0, "test": 0.5}, {}, 0.3, {"gsm8k": score(0.3)}),
    Checkpoint(40, {"train": 1.0, "test": 0.5}, {}, 0.4),
]


def test_the_row_is_about_the_chosen_checkpoint():
    assert reported(CHECKPOINTS, {})[0].step == 40
    assert reported(CHECKPOINTS[:1], {"select": "paper"}) == (CHECKPOINTS[0], None, "")
    shown, selection, validation = reported(CHECKPOINTS, {"select": "paper"})
    assert (shown.step, selection.step, validation) == (20, 20, "test")
    shown, selection, _ = reported(CHECKPOINTS, {"select": "paper", "select_validation": "gsm8k"})
    assert shown.step == 30  # step 20 falls by 0.3 after it; at 40 the benchmark was not measured
    assert [p.step for p in read_curve(CHECKPOINTS, "gsm8k")] == [10, 20, 30]
    shown, selection, _ = reported(CHECKPOINTS, {"select": "paper", "select_validation": "mmlu"})
    assert (shown.step, selection.stable) == (40, False)


def test_curve_is_drawn_with_the_choice_marked(tmp_path):
    evals = {"select": "paper"}
    shown, selection, _ = reported(CHECKPOINTS, evals)
    rows = {
        "base": MethodRow(step=0),
        "sft": MethodRow(step=shown.step, checkpoints=CHECKPOINTS, selected=selection.reason),
    }
    report = Report("owner/model", "jsonl", rows)
    (path,) = draw_selections(report, tmp_path, evals)
    assert path == tmp_path / "figures" / "selection_sft.png"
    assert Path(path).read_bytes().startswith(b"\x89PNG")
    assert selection_lines(report) == ["", f"The row sft is about step 20: {selection.reason}."]
    (axes,) = selection_figure(read_curve(CHECKPOINTS, "test"), selection, "test", "t").axes
    lines = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert lines["chosen (step 20)"] == [20, 20]
    assert lines["train"] == [10, 20, 30, 40]
    assert "validation (test)" in lines
