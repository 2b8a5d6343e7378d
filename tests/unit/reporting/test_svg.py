"""Ticks, places and labels of the figures."""

import itertools
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.reporting.svg import HEIGHT, WIDTH, Panel, colour, figure, legend, marker, padded, tick_text, ticks


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_are_round_few_and_inside(low, width, most):
    high = low + width
    found = ticks(low, high, most)
    slack = 1e-6 * width + 1e-9 * abs(low)
    assert len(found) <= most
    assert all(low - slack <= t <= high + slack for t in found)
    if len(found) > 2:
        gaps = [b - a for a, b in itertools.pairwise(found)]
        assert max(gaps) == pytest.approx(min(gaps), rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-4, 104, [0, 25, 50, 75, 100]), (3, 3, [3]), (0.7, 1.3, [0.8, 1.0, 1.2])],
)
def test_ticks_by_hand(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_tick_texts_have_no_tails():
    assert [tick_text(v) for v in (0.1 + 0.2, 100.0, 1e-7, -2.5)] == ["0.3", "100", "1e-07", "-2.5"]


def test_places():
    panel = Panel((0, 10), (0, 1), ("x", "y"))
    assert panel.px(0) < panel.px(5) < panel.px(10) < WIDTH
    assert HEIGHT > panel.py(0) > panel.py(1) > 0
    assert panel.px(5) == pytest.approx((panel.px(0) + panel.px(10)) / 2)
    flat = Panel((2, 2), (3, 3), ("x", "y"))
    assert flat.px(2) == flat.px(2)


def test_labels_keep_apart_and_are_left_out_where_there_is_no_place():
    panel = Panel((0, 1), (0, 1), ("x", "y"))
    for _ in range(12):
        panel.label((0.5, 0.5), "the same place")
    boxes = panel.boxes
    assert 1 < len(boxes) <= 4
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_step_function_is_cut_at_the_edge():
    panel = Panel((0, 10), (0, 1), ("x", "y"))
    panel.steps([(1, 0.5), (20, 1.0)], "m1")
    assert panel.parts[0].count("V") == 1
    assert f"H{panel.px(10):.1f}" in panel.parts[0]


def test_the_figure_is_markup_and_its_texts_are_escaped():
    panel = Panel((0, 1), (0, 1), ("<x>", "a & b"))
    panel.point((0.5, 0.5), "m2", 'a "<tip>"', 3)
    panel.label((0.5, 0.5), "<name>")
    panel.rule("<rule>", x=0.2)
    panel.rule("rule", y=0.2)
    text = figure("id", "A <title>", "note & more", panel.svg(), legend([("<m>", "m0", 2)]))
    tree = ET.fromstring(text)
    texts = "".join(tree.itertext())
    for part in ("<x>", "a & b", 'a "<tip>"', "<name>", "<rule>", "A <title>", "note & more", "<m>"):
        assert part in texts
    assert tree.find("svg").get("aria-label") == "A <title>"


def test_colours_are_fixed_for_base_and_sft_and_take_turns():
    names = ["base", "sft", *[f"mixsd@{i}" for i in range(10)]]
    assert colour("base", names) == "m0"
    assert colour("sft", ["sft"]) == "m1"
    others = [colour(n, names) for n in names[2:]]
    assert others[:8] == [f"m{i}" for i in range(2, 10)]
    assert others[8] == "m2"
    assert len({marker(0, 0, i) for i in range(4)}) == 4


def test_padding():
    assert padded([1, 3], 0.1) == pytest.approx((0.8, 3.2))
    assert padded([1, 3], 0.1, 0.0) == pytest.approx((-0.3, 3.3))
    low, high = padded([2.0])
    assert low < 2 < high
    low, high = padded([0.0])
    assert low < 0 < high
