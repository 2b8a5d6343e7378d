"""The twenty-five verifiable instructions of IFEval: for each, whether a response follows it.

Written from the published definition (Zhou et al., 2023, and the fields of the data set). Where that definition leans
on tools that we do not carry, this says what is done instead: words are runs of letters, digits and underscores;
sentences are cut by ``count_sentences``; the language is found by ``language.detect_language``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from nemo_mixsd.evals.benchmarks.language import detect_language

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]

CHECKS: Final[dict[str, Check]] = {}
"""Every instruction by its published id: response and arguments in, followed or not out."""

_CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st vs etc inc ltd co corp e.g i.e fig no vol approx dept est".split()  # noqa: SIM905
)


def instruction(name: str) -> Callable[[Check], Check]:
    """Register a check under its published id."""

    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


def follows(name: str, response: str, arguments: Arguments) -> bool:
    """Whether ``response`` follows one instruction; an empty response follows none.

    Raises:
        KeyError: There is no such instruction, or an argument that it needs is missing.
        ValueError: An argument has a value that is not defined.
    """
    check = CHECKS[name]
    return bool(response.strip()) and check(response, arguments)


def compare(count: int, relation: str, bound: int) -> bool:
    """``count`` against ``bound``: the two published relations are ``at least`` and ``less than``.

    Raises:
        ValueError: It is another one.
    """
    if relation == "at least":
        return count >= bound
    if relation == "less than":
        return count < bound
    raise ValueError(f"relation is {relation!r}; it must be 'at least' or 'less than'")


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def count_sentences(text: str) -> int:
    """Sentences: pieces that end in ``.``, ``!``, ``?`` (or their like in other scripts) before a space or the end.

    A full stop after an abbreviation or an initial, or before a small letter, ends nothing.
    """
    count, start = 0, 0
    for match in re.finditer(r"[.!?…]+[\"'”’)\]*_]*(?=\s|$)|[。！？।؟]+[」』”]*", text):
        before = text[start : match.start()].split()
        if not before or not re.search(r"\w", text[start : match.start()]):
            continue
        last = before[-1].lstrip("(\"'“‘*").lower()
        following = text[match.end() :].lstrip()
        if match.group().startswith(".") and (
            last in _ABBREVIATIONS or (re.fullmatch(r"[a-z]|\d+", last) and len(before) == 1) or _initial(before[-1])
        ):
            continue
        if following[:1].islower() and match.group()[0] in ".…":
            continue
        count, start = count + 1, match.end()
    return count + bool(re.search(r"\w", text[start:]))


def _initial(word: str) -> bool:
    """A single capital letter, as in ``J. Smith``; not the pronoun."""
    return bool(re.fullmatch(r"[A-HJ-Z]", word.lstrip("(\"'“‘")))


@instruction("keywords:existence")
def _keywords(response: str, arguments: Arguments) -> bool:
    return all(word.lower() in response.lower() for word in arguments["keywords"])


@instruction("keywords:frequency")
def _keyword_frequency(response: str, arguments: Arguments) -> bool:
    count = response.lower().count(arguments["keyword"].strip().lower())
    return compare(count, arguments["relation"], arguments["frequency"])


@instruction("keywords:forbidden_words")
def _forbidden(response: str, arguments: Arguments) -> bool:
    patterns = (rf"(?<!\w){re.escape(word)}(?!\w)" for word in arguments["forbidden_words"])
    return not any(re.search(pattern, response, re.IGNORECASE) for pattern in patterns)


@instruction("keywords:letter_frequency")
def _letter_frequency(response: str, arguments: Arguments) -> bool:
    count = response.lower().count(arguments["letter"].lower())
    return compare(count, arguments["let_relation"], arguments["let_frequency"])


@instruction("language:response_language")
def _language(response: str, arguments: Arguments) -> bool:
    return bool(detect_language(response) == arguments["language"])


@instruction("length_constraints:number_sentences")
def _sentences(response: str, arguments: Arguments) -> bool:
    return compare(count_sentences(response), arguments["relation"], arguments["num_sentences"])


@instruction("length_constraints:number_paragraphs")
def _paragraphs(response: str, arguments: Arguments) -> bool:
    """Paragraphs are parted by ``***``; only the first and last may be empty, and do not count then."""
    parts = [part.strip() for part in response.split("***")]
    return all(parts[1:-1]) and sum(map(bool, parts)) == arguments["num_paragraphs"]


@instruction("length_constraints:number_words")
def _words(response: str, arguments: Arguments) -> bool:
    return compare(count_words(response), arguments["relation"], arguments["num_words"])


@instruction("length_constraints:nth_paragraph_first_word")
def _first_word(response: str, arguments: Arguments) -> bool:
    """Paragraphs are parted by blank lines; the word is compared without quotes, case and what follows it."""
    parts = [part.strip() for part in response.split("\n\n")]
    nth = arguments["nth_paragraph"]
    filled = sum(map(bool, parts))
    if nth > filled or not parts[nth - 1]:
        return False
    word = re.split(r"[.,?!'\"]", parts[nth - 1].split()[0].lstrip("'\""), maxsplit=1)[0].lower()
    return bool(filled == arguments["num_paragraphs"] and word == arguments["first_word"].lower())


@instruction("detectable_content:number_placeholders")
def _placeholders(response: str, arguments: Arguments) -> bool:
    return bool(len(re.findall(r"\[.*?\]", response)) >= arguments["num_placeholders"])


@instruction("detectable_content:postscript")
def _postscript(response: str, arguments: Arguments) -> bool:
    letters = [re.escape(letter) for letter in re.findall(r"\w", arguments["postscript_marker"])]
    return re.search(r"\.\s?".join(letters) + r"\b", response, re.IGNORECASE) is not None


@instruction("detectable_format:number_bullet_lists")
def _bullets(response: str, arguments: Arguments) -> bool:
    count = len(re.findall(r"^\s*(?:\*[^*\n]|-)", response, re.MULTILINE))
    return count == int(arguments["num_bullets"])


@instruction("detectable_format:constrained_response")
def _constrained(response: str, _: Arguments) -> bool:
    return any(choice in response for choice in _CHOICES)


@instruction("detectable_format:number_highlighted_sections")
def _highlights(response: str, arguments: Arguments) -> bool:
    """``*one*`` or ``**one**``, on one line and not empty."""
    found = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", response)
    return bool(sum(bool((double or single).strip()) for double, single in found) >= arguments["num_highlights"])


@instruction("detectable_format:multiple_sections")
def _sections(response: str, arguments: Arguments) -> bool:
    marker = re.escape(arguments["section_spliter"].strip())  # the data set's own spelling
    return bool(len(re.findall(rf"{marker}\s?\d+", response)) >= arguments["num_sections"])


@instruction("detectable_format:json_format")
def _json(response: str, _: Arguments) -> bool:
    text = response.strip()
    fence = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL | re.IGNORECASE)
    try:
        json.loads(fence.group(1) if fence else text)
    except (ValueError, RecursionError):
        return False
    return True


@instruction("detectable_format:title")
def _title(response: str, _: Arguments) -> bool:
    return any(title.strip("<> \t") for title in re.findall(r"<<[^\n]+>>", response))


@instruction("combination:two_responses")
def _two_responses(response: str, _: Arguments) -> bool:
    parts = [part.strip() for part in response.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


@instruction("combination:repeat_prompt")
def _repeat(response: str, arguments: Arguments) -> bool:
    return response.strip().lower().startswith(arguments["prompt_to_repeat"].strip().lower())


@instruction("startend:end_checker")
def _end(response: str, arguments: Arguments) -> bool:
    return response.strip().strip('"').lower().endswith(arguments["end_phrase"].strip().lower())


@instruction("startend:quotation")
def _quotation(response: str, _: Arguments) -> bool:
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@instruction("change_case:capital_word_frequency")
def _capital_words(response: str, arguments: Arguments) -> bool:
    words = re.findall(r"\w+(?:[-'’.]\w+)*", response)
    count = sum(word.isupper() for word in words)
    return compare(count, arguments["capital_relation"], arguments["capital_frequency"])


@instruction("change_case:english_capital")
def _capital(response: str, _: Arguments) -> bool:
    return response.isupper() and detect_language(response) == "en"


@instruction("change_case:english_lowercase")
def _lowercase(response: str, _: Arguments) -> bool:
    return response.islower() and detect_language(response) == "en"


@instruction("punctuation:no_comma")
def _no_comma(response: str, _: Arguments) -> bool:
    return "," not in response
