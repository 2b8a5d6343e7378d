"""Grading free answers: the hook for a judge of the user's own, and the judge that goes by matching."""

from __future__ import annotations

import importlib
import re
from typing import Literal, Protocol, get_args, runtime_checkable

from nemo_mixsd.errors import ConfigError, MixSDError, shown
from nemo_mixsd.evals.answers import normalise
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.types import Example

Verdict = Literal["correct", "incorrect", "not_attempted"]
"""``not_attempted``: the response gives no answer, right or wrong."""

MATCHING = "matching"

# Over normalised text: case folded, an apostrophe is a space ("don't" -> "don t").
_REFUSALS = re.compile(
    r"(?<!\w)(?:"
    r"(?:do not|don t|dont|did not|didn t) (?:know|have|recall|remember)"
    r"|not (?:sure|certain|aware|familiar|available|known|specified|publicly)"
    r"|(?:cannot|can not|can t|cant|could not|couldn t|unable to) "
    r"(?:\w+ )?(?:answer|determine|give|provide|find|verify|confirm|say|tell|recall|help|identify)"
    r"|no (?:reliable |specific |public |further )?(?:information|idea|answer|record|data)"
    r"|(?:is|are|was|were|remains?) (?:unknown|unclear)|^(?:unknown|unclear|none)$"
    r")(?!\w)"
)
_NOT_APPLICABLE = re.compile(r"\W*n\s*/\s*a\W*", re.IGNORECASE)


class JudgeError(MixSDError, RuntimeError):
    """A judge failed or gave no verdict. Nothing is scored in its place; the text names judge and example."""


@runtime_checkable
class Judge(Protocol):
    """Grades one response. A judge that cannot decide raises; it never returns a verdict it did not reach."""

    def judge(self, example: Example, response: str) -> Verdict:
        """The verdict on ``response`` as an answer to ``example.question``."""
        ...


class MatchingJudge:
    """Correct where the answer or an alias stands in the response; not attempted where it declines; else incorrect.

    Matching comes first: "I am not sure, but it may be Oslo" is correct where Oslo is the answer, and not attempted
    where it is another town. A response that names several candidates, or names the answer to deny it, is counted
    correct; a model as judge sees through that.
    """

    def __init__(self) -> None:
        self._verifier = make_verifier("contains")

    def judge(self, example: Example, response: str) -> Verdict:
        """The verdict by normalised whole-word matching."""
        if self._verifier.verify(response, (example.answer, *example.aliases)):
            return "correct"
        return "not_attempted" if declines(response) else "incorrect"


def declines(response: str) -> bool:
    """True if ``response`` is blank or says that the answer is not known or not given."""
    text = normalise(response)
    return not text or _REFUSALS.search(text) is not None or _NOT_APPLICABLE.fullmatch(response) is not None


def load_judge(name: str) -> Judge:
    """The judge called ``name``: ``matching``, or ``package.module:attribute`` of the user's own.

    The attribute is a judge, or a class or function that makes one when called without arguments.

    Raises:
        ConfigError: No such module or attribute, it cannot be made, or it has no ``judge`` method.
    """
    if name == MATCHING:
        return MatchingJudge()
    module_name, separator, attribute = name.partition(":")
    if not separator or not module_name or not attribute:
        raise ConfigError(f"judge {name!r}: write 'package.module:attribute', or {MATCHING!r}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"judge {name!r}: cannot import {module_name!r} ({error}); install it or add its folder to PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        raise ConfigError(f"judge {name!r}: module {module_name!r} has no {attribute!r}; check its spelling")
    made = getattr(module, attribute)
    if isinstance(made, type) or not hasattr(made, "judge"):
        if not callable(made):
            raise ConfigError(f"judge {name!r}: {shown(made)} has no method judge(example, response)")
        try:
            made = made()
        except Exception as error:  # whatever the user's constructor raises is their judge not being set up
            raise ConfigError(f"judge {name!r}: cannot be made ({type(error).__name__}: {error})") from error
    if not isinstance(made, Judge):
        raise ConfigError(f"judge {name!r}: {shown(made)} has no method judge(example, response)")
    return made


def judge_response(judge: Judge, example: Example, response: str) -> Verdict:
    """Ask ``judge`` and check what it says.

    Raises:
        JudgeError: The judge raised, or returned something that is no verdict.
    """
    name = type(judge).__name__
    try:
        verdict = judge.judge(example, response)
    except Exception as error:  # the judge is foreign code; any failure of it must stop the evaluation
        raise JudgeError(
            f"judge {name} failed on example {example.id!r} ({type(error).__name__}: {error}); "
            "nothing is scored: mend the judge and start again"
        ) from error
    if verdict not in get_args(Verdict):
        raise JudgeError(
            f"judge {name} returned {shown(verdict)} for example {example.id!r}; "
            f"it must return one of {', '.join(get_args(Verdict))}"
        )
    return verdict
