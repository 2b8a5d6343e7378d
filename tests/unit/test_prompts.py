"""Prompts: the chat template once, placeholders, lengths."""

import pytest

from nemo_mixsd.errors import PromptError
from nemo_mixsd.prompts import DEFAULT_TEMPLATES, PromptRenderer, PromptTemplates, choose_templates
from tests.samples import example
from tests.tiny import make_tokenizer

PLAIN = PromptTemplates("{question}", "{context} {question}")


def renderer(templates=PLAIN, chat_template=None, **kwargs):
    tokenizer = make_tokenizer() if chat_template is None else make_tokenizer(chat_template)
    return PromptRenderer(tokenizer, templates, **kwargs)


def spell(r, ids):
    return r.tokenizer.convert_ids_to_tokens(list(ids))


def test_both_prompts_are_one_chat_turn_with_the_generation_prompt():
    r = renderer()
    request = r.request(example(1, aliases=("azure",)))
    naive = "<user> what is the colour of w1 ? <eos> <assistant>"
    expert = "<user> the colour of w1 is blue . what is the colour of w1 ? <eos> <assistant>"
    assert " ".join(spell(r, request.naive_ids)) == naive
    assert " ".join(spell(r, request.expert_ids)) == expert
    assert (request.example_id, request.answer, request.aliases) == ("e1", "blue", ("azure",))
    assert all(isinstance(i, int) for i in request.naive_ids)
    assert r.naive_ids(example(1).question) == request.naive_ids


def test_no_special_token_is_added_beside_the_template():
    """A tokenizer that puts a token before every text must not do it here: the template has said what stands there."""
    r = renderer()
    from tokenizers.processors import TemplateProcessing

    r.tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<system> $A", special_tokens=[("<system>", 4)])
    assert spell(r, r.tokenizer("sky")["input_ids"]) == ["<system>", "sky"]
    assert spell(r, r.naive_ids("sky")) == ["<user>", "sky", "<eos>", "<assistant>"]


def test_a_system_message_comes_first_in_both():
    r = renderer(PromptTemplates("{question}", "{answer} {question}", system="in city"))
    request = r.request(example(2))
    for ids in (request.naive_ids, request.expert_ids):
        assert spell(r, ids)[:4] == ["<system>", "in", "city", "<eos>"]


THINKS = (
    "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    "{% if enable_thinking is defined %}{{ 'one' if enable_thinking else 'two' }}{% else %}three{% endif %}"
    "{% if extra is defined %} {{ extra }}{% endif %}"
)


@pytest.mark.parametrize(
    ("kwargs", "end"),
    [
        (None, ["sky", "two"]),
        ({}, ["sky", "two"]),
        ({"enable_thinking": True}, ["sky", "one"]),
        ({"extra": "rome"}, ["sky", "two", "rome"]),
    ],
)
def test_template_variables(kwargs, end):
    r = renderer(chat_template=THINKS, template_kwargs=kwargs)
    assert spell(r, r.naive_ids("sky")) == end


def test_every_placeholder_of_the_expert():
    r = renderer(PromptTemplates("{question}", "{question}|{context}|{answer}|{target}"))
    e = example(question="q", context="c", answer="a", target="t")
    assert r.expert_text(e) == "q|c|a|t"


def test_braces_in_templates_and_in_facts():
    r = renderer(PromptTemplates("{{x}} {question}", "\\boxed{{}} {context} {question}"))
    e = example(question="what is {y} ?", context="{0} {question}")
    assert r.naive_text(e.question) == "{x} what is {y} ?"
    assert r.expert_text(e) == "\\boxed{} {0} {question} what is {y} ?"


@pytest.mark.parametrize(
    ("naive", "expert", "text"),
    [
        (
            "{questoin}",
            "{context} {question}",
            r"naive_template: unknown placeholder \{questoin\}; allowed: \{question\}",
        ),
        ("{question} {answer}", "{context} {question}", r"naive_template: unknown placeholder \{answer\}"),
        ("{question} {}", "{context} {question}", r"unknown placeholder \{\}"),
        ("ask", "{context} {question}", r"naive_template does not contain \{question\}"),
        ("{question}", "{context}", r"expert_template does not contain \{question\}"),
        ("{question}", "{question}", r"expert_template shows neither \{context\} nor \{answer\} nor \{target\}"),
        ("{question}", "{fact} {question}", r"unknown placeholder \{fact\}; allowed: \{answer\}, \{context\}, "),
        ("{question} {", "{context} {question}", r"write a literal brace as \{\{ or \}\}"),
        ("{question} }", "{context} {question}", r"write a literal brace as \{\{ or \}\}"),
    ],
)
def test_bad_templates(naive, expert, text):
    with pytest.raises(PromptError, match=text):
        PromptTemplates(naive, expert)


def test_recipe_templates_take_the_place_of_defaults():
    assert choose_templates("fact") == DEFAULT_TEMPLATES["fact"]
    chosen = choose_templates("solution", expert="{answer} {question}", system="s")
    assert chosen == PromptTemplates(DEFAULT_TEMPLATES["solution"].naive, "{answer} {question}", "s")
    assert choose_templates("fact", naive="Q: {question}").naive == "Q: {question}"


@pytest.mark.parametrize("style", ["fact", "solution"])
def test_defaults_show_the_fact_to_the_expert_only(style):
    r = renderer(DEFAULT_TEMPLATES[style])
    e = example(question="QQ", context="CC", answer="AA", target="TT")
    assert r.naive_text("QQ") == "QQ"
    assert "CC" in r.expert_text(e)
    assert "QQ" in r.expert_text(e)
    if style == "solution":
        assert "\\boxed{}" in r.expert_text(e)


def test_a_prompt_without_room_for_one_token_names_its_example():
    r = renderer()
    items = [example(0), example(1, context="blue " * 50), example(2)]
    length = len(r.request(items[1]).expert_ids)
    assert len(list(r.requests(items, length + 1))) == 3
    stream = r.requests(iter(items), length)
    assert next(stream).example_id == "e0"
    with pytest.raises(
        PromptError, match=rf"example 'e1': its expert prompt has {length} tokens, the limit .*{length}"
    ):
        next(stream)
    with pytest.raises(PromptError, match="example 'e1': its naive prompt has"):
        list(r.requests([example(1, question="sky " * 99)], 50))


def test_decode_drops_special_tokens():
    r = renderer()
    ids = r.tokenizer.convert_tokens_to_ids(["blue", "sky", "<eos>"])
    assert r.decode(iter(ids)) == "blue sky"
