"""The rule-based verifier: does a text give the answer? What is looked at is extracted by ``evals.answers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, get_args

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.answers import as_number, extract_answer, normalise, same_value, without_markup
from nemo_mixsd.types import VerifierName

VERIFIERS: tuple[VerifierName, ...] = get_args(VerifierName)


class Verifier(Protocol):
    """Decides whether a response gives one of the accepted answers."""

    name: VerifierName

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if ``text`` gives any of ``answers``."""
        ...

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Why ``text`` is rejected, in a few words."""
        ...

    def canonical(self, answer: str) -> str:
        """The shortest response that gives ``answer``; a verifier that rejects it cannot be used for the answer."""
        ...


class ContainsVerifier:
    """The normalised answer stands in the normalised text, at word boundaries."""

    name: VerifierName = "contains"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if any answer stands in ``text`` as whole words."""
        haystack = f" {normalise(text)} "
        needles = [normalise(answer) for answer in answers]
        return any(needle and f" {needle} " in haystack for needle in needles)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name the answer that is missing."""
        return f"{answers[0]!r} does not stand in the text"

    def canonical(self, answer: str) -> str:
        """The answer itself."""
        return answer


class ExactVerifier:
    """The whole normalised text is the normalised answer."""

    name: VerifierName = "exact"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if the text is one of the answers and nothing else."""
        given = normalise(text)
        return bool(given) and any(given == normalise(answer) for answer in answers)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name the answer that the text should have been."""
        return f"the text is not just {answers[0]!r}"

    def canonical(self, answer: str) -> str:
        """The answer itself."""
        return answer


class BoxedVerifier:
    r"""The last ``\boxed{...}`` holds the answer: equal as numbers, else equal normalised."""

    name: VerifierName = "boxed"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if the last box holds one of the answers."""
        given = extract_answer(text, "boxed")
        if given is None:
            return False
        return any(same_value(without_markup(given), without_markup(answer)) for answer in answers)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name what the box holds, or that there is none."""
        given = extract_answer(text, "boxed")
        return "no boxed answer" if given is None else f"the box holds {given!r}, not {answers[0]!r}"

    def canonical(self, answer: str) -> str:
        r"""The answer in ``\boxed{}``."""
        return f"\\boxed{{{answer}}}"


class NumberVerifier:
    """The last number in the text equals the answer, which must be a number."""

    name: VerifierName = "number"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """True if the last number of the text has the value of one of the answers."""
        given = extract_answer(text, "last_number")
        value = None if given is None else as_number(given)
        return value is not None and any(value == as_number(answer) for answer in answers)

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Name the last number."""
        given = extract_answer(text, "last_number")
        return "no number in the text" if given is None else f"the last number is {given}, not {answers[0]}"

    def canonical(self, answer: str) -> str:
        """The answer itself."""
        return answer


_CLASSES: dict[VerifierName, type[Verifier]] = {
    "contains": ContainsVerifier,
    "exact": ExactVerifier,
    "boxed": BoxedVerifier,
    "number": NumberVerifier,
}


def make_verifier(name: str) -> Verifier:
    """The verifier of that name.

    Raises:
        ConfigError: There is none; the text lists those that exist.
    """
    for known, cls in _CLASSES.items():
        if name == known:
            return cls()
    raise ConfigError(f"mixing.verifier: no verifier {name!r}; choose one of {', '.join(VERIFIERS)}")
