"""Equality of mathematical answers: as written, as numbers, by math-verify; with limits, from any thread."""

import os
import threading
import time

import pytest

from nemo_mixsd.evals import equivalence
from nemo_mixsd.evals.equivalence import canonical, math_equal

SAME = [
    (r"\dfrac{1}{2}", r"\frac{1}{2}"),
    (r"\frac12", "1/2"),
    ("0.5", r"\frac{1}{2}"),
    (r"1\frac{4}{5}", r"\frac{9}{5}"),
    (r"137 \frac{1}{2}", "137.5"),
    ("1,234", "1234"),
    (r"10,\!080", "10080"),
    ("10{,}080", "10080"),
    (r"\$32,\!348", "32348"),
    ("90", r"90^\circ"),
    (r"90^{\circ}", r"90^\circ"),
    (r"15\mbox{ cm}^2", "15"),
    ("5.4", r"5.4 \text{ cents}"),
    ("5.40", "5.4"),
    ("025", "25"),
    ("5", "x=5"),
    (r"x \in [-2,7]", "[-2,7]"),
    (r"\text{(C)}", "C"),
    ("evelyn", r"\text{Evelyn}"),
    ("2 + 3x", "3x+2"),
    (r"(b+2)(a+5)", "(a+5)(b+2)"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\left(3, \frac{\pi}{2}\right)", r"(3,\frac{\pi}{2})"),
    ("1,-2", "-2,1"),
    (r"2516_{8}", "2516_8"),
    ("{5}", "5"),
    ("5.", "5"),
    ("$7$", "7"),
]
DIFFERENT = [
    ("-5", "5"),
    ("1.26", "1.25"),
    (r"\frac{1}{3}", r"\frac{1}{2}"),
    ("(3,4)", "(3,4]"),
    ("(4,3)", "(3,4)"),
    (r"\text{west}", r"\text{east}"),
    ("(B)", r"\text{(C)}"),
    ("2k+3", "2k+2"),
    ("1,2", "12"),
    ("", "5"),
    ("5x", "5"),
    (r"\sqrt{52}", r"\sqrt{51}"),
    ("40_8", "40_9"),
    ("y = 5", "x = 5"),
]


@pytest.mark.parametrize(("given", "gold"), SAME)
def test_same(given, gold):
    assert math_equal(given, gold) is True
    assert math_equal(gold, gold) is True


@pytest.mark.parametrize(("given", "gold"), DIFFERENT)
def test_different(given, gold):
    assert math_equal(given, gold) is False


def test_canonical_is_stable():
    for given, gold in [*SAME, *DIFFERENT]:
        for text in (given, gold):
            assert canonical(canonical(text)) == canonical(text)


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["9^{9^{9^{9}}}", "(x+y+z+w+v+u+t)^{900}", r"\sum_{k=1}^{10^{12}} \sin(k^k)"])
def test_what_cannot_be_decided_in_time_is_undecided_and_the_next_is_answered(tower, monkeypatch):
    monkeypatch.setattr(equivalence, "SECONDS", 2.0)
    begun = time.monotonic()
    assert math_equal(tower, "3x+2") in (None, False)
    assert time.monotonic() - begun < 60
    assert math_equal("2+3x", "3x+2") is True


def test_threads_may_ask_at_the_same_time():
    found = {}

    def ask(i):
        found[i] = math_equal(f"{i} + x", f"x + {i}"), math_equal(f"{i} + x", f"x + {i + 1}")

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: (True, False) for i in range(8)}


def test_a_lost_helper_is_started_again():
    assert math_equal("7 + x", "x + 7") is True
    equivalence._helper._process.kill()
    equivalence._helper._process.wait()
    assert math_equal("8 + x", "x + 8") is True


def test_after_a_fork_parent_and_child_have_helpers_of_their_own():
    assert math_equal("9 + x", "x + 9") is True
    parent = equivalence._helper._process.pid
    read, write = os.pipe()
    child = os.fork()
    if not child:
        right = math_equal("10 + x", "x + 10") is True and equivalence._helper._process.pid != parent
        equivalence._helper.close()
        os.write(write, b"1" if right else b"0")
        os._exit(0)
    assert os.read(read, 1) == b"1"
    os.waitpid(child, 0)
    assert math_equal("11 + x", "x + 11") is True
    assert equivalence._helper._process.pid == parent
