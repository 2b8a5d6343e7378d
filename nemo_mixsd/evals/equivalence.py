r"""Whether two mathematical answers are the same: as written, as numbers, and at last by math-verify.

math-verify guards itself with signals, which work on the main thread alone, and a power tower stops even those. So it
runs in one helper process a scoring run, with a limit of time and memory that the kernel keeps; any thread may ask.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import selectors
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

from nemo_mixsd.errors import ScoringError
from nemo_mixsd.evals.answers import as_number, normalise, without_markup

SECONDS = 8.0
"""How long one comparison may take; two expressions that are not found equal by then count as different."""
START_SECONDS = 60.0
"""How long the helper process may take to start, on top."""
REMEMBERED = 20_000
"""Comparisons that are kept: many responses to one problem give the same answer."""
LONGEST = 2000
"""Characters of an expression; what is longer is no short answer, and is compared as written only."""

_LAYOUT = re.compile(r"\\(?:left|right|displaystyle|textstyle|bigl?|bigr?|Bigl?|Bigr?|limits)(?![A-Za-z])\s*")
_UNIT = r"(?:\\(?:text|mbox|mathrm|textrm)\{[^{}]*\}(?:\^\{?\d\}?)?)"
_REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"^(?:\$\$?|\\\(|\\\[)(.*?)(?:\$\$?|\\\)|\\\])$", r"\1"),
        (_LAYOUT.pattern, ""),
        (r"\\[dtc]frac", r"\\frac"),
        (r"\{,\}", ","),
        (r"\\(?:[,!;: ]|quad\b|qquad\b)|~", " "),
        (r"(?:\^\s*\{?\s*\\circ\s*\}?|\\degree(?:s\b)?|°)", ""),
        (r"\\[$%]|[$%]", ""),
        (r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"\\frac\s*(\{[^{}]*\})\s*(\d)", r"\\frac\1{\2}"),
        (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
        (r"(?<=[\w})\]])\s*" + _UNIT + r"\s*$", ""),
        (r"−", "-"),
        (r"_\{(\w)\}", r"_\1"),
        (r"\^\{(\w)\}", r"^\1"),
    )
)
_TEXT_ONLY = re.compile(
    r"^\s*(?:\\(?:text|mbox|mathrm|textbf|textrm)\s*\{[^{}]*\}|[A-Za-z]{3,}(?:[ '-][A-Za-z]+)*)\s*$"
)
_MIXED = re.compile(r"^(-?)(\d+)\s*\\frac\s*\{(\d+)\}\s*\{(\d+)\}$")
_FRACTION = re.compile(r"^(-?)\s*(?:\\frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}|(\d+)\s*/\s*(\d+))$")
_NAMED = re.compile(r"^(?:[A-Za-z]|\\[a-z]+|[A-Za-z]\([A-Za-z]\))\s*(?:=|\\in(?![a-z]))\s*")
_UNIT_WORDS = re.compile(r"^(-?[\d,.]+)\s+[A-Za-z][A-Za-z /²³^2]*$")


def math_equal(given: str, gold: str) -> bool | None:
    """Whether an answer is the accepted one.

    Args:
        given: What was extracted from a response.
        gold: The accepted answer, LaTeX or plain.

    Returns:
        True or False; None if no decision was possible in time.

    Raises:
        ScoringError: math-verify cannot be run at all.
    """
    if _TEXT_ONLY.match(gold):
        return _bare(given) == _bare(gold)
    left, right = canonical(given), canonical(gold)
    if bool(_NAMED.match(left)) != bool(_NAMED.match(right)):  # x = 5 against 5, but not against y = 5
        left, right = _NAMED.sub("", left), _NAMED.sub("", right)
    if _squeezed(left) == _squeezed(right):
        return bool(right)
    numbers = _value(left), _value(right)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0] == numbers[1]
    if not left or len(left) > LONGEST:
        return False
    if _brackets(left) != _brackets(right) and _brackets(right):  # (3,4] is not (3,4)
        return False
    return _helper.compare(right, left, SECONDS)


def canonical(text: str) -> str:
    r"""An answer without what does not change it: ``\left``, spaces, units, dollar signs, degrees, a full stop."""
    text = _unwrapped(text.strip().rstrip(".").strip())
    for pattern, by in _REPLACEMENTS:
        text = pattern.sub(by, text).strip()
    text = _unwrapped(text)
    if as_number(text.replace(" ", "")) is not None:
        return text.replace(" ", "")
    words = _UNIT_WORDS.match(text)
    return words.group(1) if words and as_number(words.group(1)) is not None else text


def _unwrapped(text: str) -> str:
    """Without braces around the whole."""
    while text.startswith("{") and _closes_at_end(text):
        text = text[1:-1].strip()
    return text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for i, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return i == len(text) - 1
    return False


def _squeezed(text: str) -> str:
    number = as_number(text)
    return str(number.normalize()) if number is not None else re.sub(r"\s+", "", text)


def _value(text: str) -> Fraction | None:
    """The value of a plain number, a fraction of integers or a mixed number."""
    number = as_number(text)
    if number is not None:
        return Fraction(number) if abs(number.adjusted()) < 400 else None
    if mixed := _MIXED.match(text):
        sign, whole, top, bottom = mixed.groups()
        return None if not int(bottom) else (-1 if sign else 1) * (int(whole) + Fraction(int(top), int(bottom)))
    if fraction := _FRACTION.match(text):
        sign, top, bottom, plain_top, plain_bottom = fraction.groups()
        below = int(bottom or plain_bottom)
        return None if not below else (-1 if sign else 1) * Fraction(int(top or plain_top), below)
    return None


def _bare(text: str) -> str:
    r"""``\text{(C)}`` as ``c``."""
    return normalise(without_markup(_LAYOUT.sub("", text)).strip("$ "))


def _brackets(text: str) -> str:
    """The brackets around a tuple or interval, and nothing for anything else."""
    pairs = {"(": ")]", "[": ")]"}
    text = text.strip()
    return text[0] + text[-1] if len(text) > 2 and text[0] in pairs and text[-1] in pairs[text[0]] else ""


class _Helper:
    """The helper process, started when first asked and again after it was lost."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}
        self.forget()

    def forget(self) -> None:
        """Leave the process to whoever started it: after a fork it is the parent's."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def compare(self, gold: str, given: str, seconds: float) -> bool | None:
        with self._lock:
            if (gold, given) not in self._known:
                found = self._fresh_comparison(gold, given, seconds)
                if found is None:
                    return None
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[gold, given] = found
            return self._known[gold, given]

    def _fresh_comparison(self, gold: str, given: str, seconds: float) -> bool | None:
        if self._process is None or self._process.poll() is not None:
            self._start()
        return self._ask(gold, given, seconds, seconds + 4)

    def _start(self) -> None:
        worker = Path(__file__).with_name("equivalence_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        if self._exchange(json.dumps(["1", "1", SECONDS]), START_SECONDS) != "true":
            self.close()
            raise ScoringError(
                "math-verify cannot be run, so that mathematical answers cannot be judged; try it with "
                f"'{sys.executable} -c \"import math_verify\"', and reinstall the package if that fails"
            )

    def _ask(self, gold: str, given: str, seconds: float, wall: float) -> bool | None:
        answer = self._exchange(json.dumps([gold, given, seconds]), wall)
        if answer is None:  # too slow to be told so, or ended by the kernel
            self.close()
            return None
        value = json.loads(answer)
        return None if value is None else bool(value)

    def _exchange(self, line: str, wall: float) -> str | None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except OSError:
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(wall):
                return None
        return process.stdout.readline().strip() or None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue


_helper = _Helper()
atexit.register(_helper.close)
os.register_at_fork(after_in_child=_helper.forget)
