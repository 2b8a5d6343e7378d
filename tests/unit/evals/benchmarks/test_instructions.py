"""Every instruction of IFEval: responses that follow it and responses that just do not."""

import pytest

from nemo_mixsd.evals.benchmarks.instructions import CHECKS, compare, count_sentences, count_words, follows

AT_LEAST, LESS = "at least", "less than"
CASES = [
    ("keywords:existence", {"keywords": ["sea", "Sky"]}, ["The SEA and the sky"], ["the sea", "s ea sky"]),
    ("keywords:frequency", {"keyword": "ant", "frequency": 2, "relation": AT_LEAST}, ["Ant, ant"], ["one ant"]),
    ("keywords:frequency", {"keyword": "ant", "frequency": 2, "relation": LESS}, ["one ant", "none"], ["ant ant"]),
    ("keywords:forbidden_words", {"forbidden_words": ["art", "no"]}, ["party now"], ["Art is here", "yes, NO!"]),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": AT_LEAST}, ["Qq"], ["q"]),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": LESS}, ["a!"], ["!!"]),
    (
        "language:response_language",
        {"language": "de"},
        ["Das ist ein Satz, der nicht sehr lang ist und auf Deutsch steht."],
        ["This is a sentence in English that is not very long.", "Ceci est une phrase qui est en français."],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": AT_LEAST},
        ["One. Two! Three?", "Dr. Wu came. He sat. He left."],
        ["One. Two.", "It is 3.5 m, i.e. long. Yes."],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["one\n***\ntwo", "***\none\n***\ntwo\n***"],
        ["one", "one\n***\n\n***\ntwo", "one***two***three"],
    ),
    ("length_constraints:number_words", {"num_words": 3, "relation": AT_LEAST}, ["a b c", "it's me"], ["a b"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Well"},
        ["One.\n\nWell, two.", 'One.\n\n"well" two'],
        ["One.\n\nBut two.", "One.\n\nWell two.\n\nThree.", "Well."],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[name] of [place]"], ["[name]", "(a) (b)"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["Bye.\nP.S. more", "p. s. x"], ["Bye", "PS x"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["Bye.\nP.P.S more"], ["Bye.\nP.S. more"]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* one\n* two", "- one\n  - two\ntext"],
        ["* one", "* a\n* b\n* c", "**bold**\n* one"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is no.", "Well: My answer is yes."],
        ["no", "My answer"],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*one* and **two**", "**a** **b**"],
        ["*one*", "* one\n* two", "**a** and ** **"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb"],
        ["SECTION 1\na", "SECTION A\nSECTION B", "Section 1 Section 2"],
    ),
    ("detectable_format:json_format", {}, ['{"a": 1}', '```json\n{"a": 1}\n```', "[1]"], ["a: 1", '{"a": 1} ok']),
    ("detectable_format:title", {}, ["<<My day>>\nIt was good"], ["My day", "<<>>", "<< >> x"]),
    ("combination:two_responses", {}, ["one\n******\ntwo"], ["one", "a******a", "a******b******c"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, ["say it. Fine."], ["Fine. Say it."]),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, ["Ok. any questions?", '"Any questions?"'], ["Ok."]),
    ("startend:quotation", {}, ['"all of it"', ' "a" '], ['"', '"a', 'a"', "'a'"]),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": AT_LEAST},
        ["A BIG dog", "WELL-KNOWN U.S. dog"],
        ["BIG dog", "Big Dog"],
    ),
    ("change_case:english_capital", {}, ["THIS IS ALL WE HAVE."], ["THIS is all", "123"]),
    ("change_case:english_lowercase", {}, ["this is all we have."], ["This is all we have."]),
    ("punctuation:no_comma", {}, ["one and two"], ["one, two"]),
]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES, ids=[c[0] for c in CASES])
def test_instruction(name, arguments, good, bad):
    for response in good:
        assert follows(name, response, arguments), response
    for response in bad:
        assert not follows(name, response, arguments), response


@pytest.mark.parametrize("name", sorted({c[0] for c in CASES}))
def test_an_empty_response_follows_nothing(name):
    arguments = next(c[1] for c in CASES if c[0] == name)
    assert not follows(name, "  \n", arguments)


def test_all_twenty_five_are_there_and_tested():
    assert len(CHECKS) == 25
    assert {c[0] for c in CASES} == set(CHECKS)


def test_unknown_relations_and_missing_arguments_are_errors():
    with pytest.raises(ValueError, match="relation is 'about'"):
        compare(1, "about", 1)
    with pytest.raises(KeyError):
        follows("keywords:existence", "text", {})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One.", 1),
        ("One. Two.", 2),
        ("Wait... what? Yes!", 2),
        ("Mr. J. Smith met Dr. Wu. They ate.", 2),
        ("Is it 3.5? It is.", 2),
        ('He said "Go." Then he went.', 2),
        ("これは文です。二つ目です。", 2),
        ("यह एक है। यह दो है।", 2),
        ("- one\n- two", 1),
        ("Really?! Yes.", 2),
        ("1. First. 2. Second.", 2),
        ("So do I. You too.", 2),
    ],
)
def test_sentences(text, count):
    assert count_sentences(text) == count


def test_words():
    assert count_words("It's a well-known_fact, 3.5 times.") == 8
