"""What counts as giving the answer: tables of what is accepted and what is not, and properties."""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.answers import as_number, extract_boxed, extract_number, normalise, same_value
from nemo_mixsd.mixing.verifier import VERIFIERS, make_verifier

CONTAINS = [
    ("It is Lisbon.", "Lisbon", True),
    ("it is LISBON", "lisbon", True),
    ("It is Paris.", "Lisbon", False),
    ("He joined the party.", "art", False),
    ("He likes art.", "art", True),
    ("Lisbonne", "Lisbon", False),
    ("He lives in The Hague now", "The Hague", True),
    ("He lives in Hague", "The Hague", True),
    ("the answer", "The", False),
    ("The", "The", True),
    ("Marie Curie", "Curie Marie", False),
    ("Marie\n  Curie", "Marie Curie", True),
    ("Marie-Curie", "Marie Curie", True),
    ("Marie, Curie", "Marie Curie", True),
    ("O\u2019Brien said", "O'Brien", True),
    ("Caf\u0065\u0301 Noir", "Caf\u00e9 noir", True),
    ("Cafe Noir", "Caf\u00e9 noir", False),
    ("\uff21\uff22\uff23", "abc", True),  # full-width letters
    ("Stra\u00dfe", "STRASSE", True),
    ("It was 1,234 metres", "1234", True),
    ("It was 1234 metres", "1,234", True),
    ("It was 1,234,567.", "1234567", True),
    ("1, 234", "1234", False),
    ("12,34", "1234", False),
    ("It is 3.5 m", "3.5", True),
    ("It is 35 m", "3.5", False),
    ("It is 3.5 m", "35", False),
    ("It is 3.5 m", "3", False),
    ("It is 3.", "3", True),
    ("It is 3.5.", "3.5", True),
    ("minus: -35", "-35", True),
    ("minus: \u221235", "-35", True),
    ("minus: -35", "35", False),
    ("plus: 35", "-35", False),
    ("1990-35", "35", True),  # a hyphen, not a sign
    ("pages 10-20", "-20", False),
    ("50%", "50%", True),
    ("50", "50%", False),
    ("50%", "50", False),
    ("$5", "$5", True),
    ("5", "$5", False),
    ("\u20ac5", "$5", False),
    ("", "Lisbon", False),
    ("   ", "Lisbon", False),
    ("anything", "...", False),
    ("anything", "", False),
    ("...", "...", False),
    ("C++ is a language", "C++", True),
    ("C is a language", "C++", False),
    ("\u6771\u4eac \u3067\u3059", "\u6771\u4eac", True),
]


@pytest.mark.parametrize(("text", "answer", "accepted"), CONTAINS)
def test_contains(text, answer, accepted):
    verifier = make_verifier("contains")
    assert verifier.verify(text, [answer]) is accepted
    if not accepted:
        assert repr(answer) in verifier.explain(text, [answer])


def test_any_alias_counts():
    verifier = make_verifier("contains")
    assert verifier.verify("from the USA", ["United States", "USA"])
    assert not verifier.verify("from Chile", ["United States", "USA"])
    assert not verifier.verify("from Chile", ["", "!"])


@pytest.mark.parametrize(
    ("text", "answer", "accepted"),
    [
        ("Lisbon.", "lisbon", True),
        ("The Hague!", "Hague", True),
        ("It is Lisbon", "Lisbon", False),
        ("", "", False),
        ("...", "...", False),
        ("3.50", "3.5", False),
        ("-5", "5", False),
    ],
)
def test_exact(text, answer, accepted):
    verifier = make_verifier("exact")
    assert verifier.verify(text, [answer]) is accepted
    assert "the text is not just 'x'" in verifier.explain(text, ["x"])


BOXES = [
    (r"so \boxed{42}.", "42"),
    (r"\boxed{1} then \boxed{2}", "2"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{a{b{c}d}e}", "a{b{c}d}e"),
    (r"\boxed {  x }", "x"),
    (r"\fbox{7}", "7"),
    (r"\boxed{1} and \boxed{2", "1"),
    (r"\boxed{a\}b}", r"a\}b"),
    (r"\boxed{\{1\}}", r"\{1\}"),
    (r"\boxed{a\\}", "a\\\\"),  # two backslashes are a line break in LaTeX, not an escaped brace
    (r"\boxed{}", ""),
    ("boxed{3}", None),
    (r"\boxed{never closed", None),
    (r"\boxed 5", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "inside"), BOXES)
def test_extract_boxed(text, inside):
    assert extract_boxed(text) == inside


@pytest.mark.parametrize(
    ("text", "answer", "accepted"),
    [
        (r"\boxed{42}", "42", True),
        (r"\boxed{42.0}", "42", True),
        (r"\boxed{1,234}", "1234", True),
        (r"\boxed{\text{Paris}}", "Paris", True),
        (r"\boxed{\text{Paris}}", r"\text{Paris}", True),
        (r"\boxed{\mathrm{yes}}", "Yes", True),
        (r"\boxed{\u221235}".replace(r"\u2212", "\u2212"), "-35", True),
        (r"\boxed{-35}", "35", False),
        (r"\boxed{3,5}", "35", False),
        (r"\boxed{41} 42", "42", False),
        (r"\boxed{42} \boxed{41}", "42", False),
        ("42", "42", False),
        (r"\boxed{}", "", False),
        (r"\boxed{$5$}", "5", True),
        (r"\boxed{5\%}", "5%", True),
    ],
)
def test_boxed(text, answer, accepted):
    verifier = make_verifier("boxed")
    assert verifier.verify(text, [answer]) is accepted


def test_boxed_explains():
    verifier = make_verifier("boxed")
    assert verifier.explain("none", ["4"]) == "no boxed answer"
    assert verifier.explain(r"\boxed{5}", ["4"]) == "the box holds '5', not '4'"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("first 3, then 5", "5"),
        ("it is 1,234,567.", "1,234,567"),
        ("3.5kg", None),
        ("1,000km", None),
        ("weighs 3.5 kg", "3.5"),
        ("x = -5", "-5"),
        ("x = \u22125", "\u22125"),
        ("10-20", "20"),
        ("1e5", "1e5"),
        ("the 15th", None),
        ("(1,2,3)", "3"),
        ("v2", None),
        ("50%", "50"),
        ("about .5", ".5"),
        ("so it is 7.", "7"),
        ("none", None),
    ],
)
def test_extract_number(text, number):
    assert extract_number(text) == number


@pytest.mark.parametrize(
    ("text", "answer", "accepted"),
    [
        ("the sum is 1,200", "1200", True),
        ("12 and then 13", "12", False),
        ("it is 12.50", "12.5", True),
        (r"3 + 4 = \boxed{7} as in step 2", "7", True),
        (r"\boxed{eight}", "8", False),
        ("-4", "4", False),
        ("seven", "7", False),
        ("7", "seven", False),
    ],
)
def test_number(text, answer, accepted):
    assert make_verifier("number").verify(text, [answer]) is accepted


def test_number_explains_what_it_looked_at():
    verifier = make_verifier("number")
    assert verifier.explain("none", ["4"]) == "no number in the text"
    assert verifier.explain("2 and 3", ["4"]) == "the last number is 3, not 4"
    assert verifier.explain(r"\boxed{5} after 3 tries, in 2 steps", ["4"]) == "the last number is 5, not 4"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.5", Decimal("1234.5")),
        (" 12. ", Decimal(12)),
        ("$5", Decimal(5)),
        ("\u22123", Decimal(-3)),
        ("1e3", Decimal(1000)),
        ("+4", Decimal(4)),
        ("1,2", None),
        ("NaN", None),
        ("Infinity", None),
        ("five", None),
        ("", None),
        ("1 2", None),
    ],
)
def test_as_number(text, value):
    assert as_number(text) == value


def test_same_value():
    assert same_value("2.0", "2")
    assert same_value("The Answer", "answer")
    assert not same_value("2", "two")
    assert not same_value("!", "?")


@given(st.text())
def test_normalised_text_has_single_spaces_and_no_case(text):
    once = normalise(text)
    assert once == " ".join(once.split()) == once.casefold()
    assert normalise(f"  {text.upper() if text.isascii() else text}\n!") == once


LETTERS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="\\"), max_size=20)


def balanced(text: str) -> bool:
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize("name", ["contains", "exact", "boxed"])
@given(answer=LETTERS)
def test_the_canonical_text_is_accepted(name, answer):
    assume(any(c.isalnum() for c in answer) and balanced(answer))
    verifier = make_verifier(name)
    assert verifier.verify(verifier.canonical(answer), [answer])


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_any_plain_number_is_accepted_by_the_number_verifier(value):
    verifier = make_verifier("number")
    for text in (f"{value}", f"{value:,}", f"the answer is {value}."):
        assert verifier.verify(text, [str(value)])
        assert not verifier.verify(text, [str(value + 1)])


def test_an_unknown_verifier_names_those_that_exist():
    with pytest.raises(ConfigError, match="no verifier 'fuzzy'; choose one of contains, exact, boxed, number"):
        make_verifier("fuzzy")
    assert [make_verifier(name).name for name in VERIFIERS] == list(VERIFIERS)
