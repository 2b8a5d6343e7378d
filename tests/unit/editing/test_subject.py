"""The last token of the subject, with every kind of tokenizer."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from nemo_mixsd.editing.edits import Edit, find_subject
from nemo_mixsd.editing.subject import last_token, locate_edit
from nemo_mixsd.errors import PromptError
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from tests.tiny import make_tokenizer

TEXT = [
    "In which city is the Eiffel Tower? Who is the founder of Zorvane?",
    "Who leads Ruritania's army? Wo liegt Zürich-Örlikon? 东京塔在哪里? What is the 🗼 of Lumora?",
    "the colour of the sky is blue and the capital of Ruritania is Oslo",
]
CHAT = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SPECIAL = ["<unk>", "<eos>"]


def wrap(raw):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", unk_token="<unk>", pad_token="<eos>")
    tokenizer.chat_template = CHAT
    return tokenizer


def byte_level(vocabulary):
    """As GPT-2, SmolLM2, Llama 3 and Qwen: BPE over bytes, a blank belongs to the word after it."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    raw.train_from_iterator(TEXT, trainer)
    return wrap(raw)


def sentencepiece_like():
    """As Llama 2: blanks become ▁, one is put in front, unknown characters fall back to bytes."""
    words = ["▁the", "▁In", "▁is", "▁of", "▁which", "▁city", "el", "Ti", "ow", "er", "Tow", "▁E", "if", "f", "▁"]
    letters = sorted({c for text in TEXT for c in text if c.isascii() and not c.isspace()})
    pieces = dict.fromkeys([*SPECIAL, *[f"<0x{b:02X}>" for b in range(256)], *letters, *words, "iff", "Tower"])
    merges = [("T", "o"), ("o", "w"), ("e", "r"), ("e", "l"), ("▁", "E"), ("f", "f")]
    pieces |= dict.fromkeys(a + b for a, b in merges)
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    raw = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return wrap(raw)


def unigram():
    """As T5 and Gemma: a unigram model with the same marks for blanks."""
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    alphabet = sorted({c for text in TEXT for c in text} | set("[]"))
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TEXT, trainer)
    return wrap(raw)


class Slow:
    """A tokenizer that tells no offsets."""

    is_fast = False

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, text, add_special_tokens):
        return self.inner(text, add_special_tokens=add_special_tokens)

    def decode(self, ids, **kwargs):
        return self.inner.decode(ids)


TOKENIZERS = {
    "bytes": lambda: byte_level(258),  # hardly a merge: characters are spread over several tokens
    "byte BPE": lambda: byte_level(420),
    "sentencepiece": sentencepiece_like,
    "unigram": unigram,
    "slow byte BPE": lambda: Slow(byte_level(420)),
    "slow sentencepiece": lambda: Slow(sentencepiece_like()),
}
CASES = [
    ("In which city is the Eiffel Tower?", "Eiffel Tower"),
    ("Who is the founder of Zorvane?", "Zorvane"),
    ("Zorvane was founded by whom?", "Zorvane"),
    ("Who leads Ruritania's army?", "Ruritania"),
    ("Wo liegt Zürich-Örlikon?", "Zürich"),
    ("东京塔在哪里?", "东京塔"),
    ("What is the 🗼 of Lumora?", "🗼"),
]


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


@pytest.mark.parametrize(("text", "subject"), CASES)
def test_the_text_is_complete_up_to_the_subject_with_it_and_not_before(tokenizer, text, subject):
    span = find_subject(text, subject)
    ids, position = last_token(tokenizer, text, span)
    inner = getattr(tokenizer, "inner", tokenizer)
    assert list(ids) == inner(text, add_special_tokens=False)["input_ids"]
    wanted = text[: span[1]].replace(" ", "")

    def decoded(count):
        return inner.decode(list(ids[:count]), clean_up_tokenization_spaces=False).replace(" ", "")

    if "<unk>" not in inner.decode(list(ids)):
        assert decoded(position + 1).startswith(wanted)
        assert not decoded(position).startswith(wanted)


def test_hand_made_words():
    """One word a token: the position can be counted by hand."""
    tokenizer = make_tokenizer()
    ids, position = last_token(tokenizer, "what is the river tower in lumora ?", (12, 23))
    assert position == 4 and tokenizer.decode([ids[4]]) == "tower"
    assert last_token(tokenizer, "what is", (4, 20))[1] is None
    assert last_token(Slow(tokenizer), "what is", (4, 7))[1] == 1


def renderer(chat=CHAT, naive="{question}", system=None, make=lambda: byte_level(420)):
    tokenizer = make()
    tokenizer.chat_template = chat
    return PromptRenderer(tokenizer, PromptTemplates(naive, "{context} {question}", system))


def edit(question="In which city is the Eiffel Tower?", subject="Eiffel Tower"):
    return Edit("e0", subject, question, "Oslo", find_subject(question, subject))


TRIMS = CHAT.replace("m['content']", "m['content'] | trim")


@pytest.mark.parametrize("prefix", ["", "It rained in the Eiffel Tower.", "Zürich 🗼 schlief."])
@pytest.mark.parametrize(
    ("chat", "naive", "system"),
    [
        (CHAT, "{question}", None),
        (CHAT, "About the Eiffel Tower or not: {question}\nAnswer about the Eiffel Tower in \\boxed{{}}.", None),
        (CHAT, "{question}", "You know the Eiffel Tower well."),
        (TRIMS, "\n  {question} ", None),
    ],
)
def test_in_a_chat_it_is_the_subject_of_the_question(prefix, chat, naive, system):
    rendering = renderer(chat, naive, system)
    found = locate_edit(rendering, edit(), prefix)
    message = f"{prefix} {rendering.naive_text(edit().question)}" if prefix else rendering.naive_text(edit().question)
    assert found.ids == rendering.encode(message)
    before, after = (rendering.decode(part) for part in (found.head, found.ids[found.position + 1 :]))
    assert before.endswith("In which city is the Eiffel Tower")
    assert after.startswith("?") and rendering.tokenizer.decode([found.ids[found.position]]).strip() in "Eiffel Tower"


def test_a_chat_template_that_changes_the_text():
    shouting = CHAT.replace("m['content']", "m['content'] | upper")
    with pytest.raises(PromptError, match="'e0': the chat template changes the user message"):
        locate_edit(renderer(shouting), edit())


@pytest.mark.model
@pytest.mark.parametrize(
    ("question", "subject", "last"),
    [
        ("In which city is the Eiffel Tower?", "Eiffel Tower", " Tower"),
        ("Who is the founder of Zorvane?", "Zorvane", "ane"),
        ("Wo liegt Zürich?", "Zürich", "rich"),
        ("What is the capital of Peru?", "Peru", " Peru"),
    ],
)
def test_smollm2(question, subject, last):
    from nemo_mixsd.models import load_tokenizer

    tokenizer = load_tokenizer("bundled:smollm2-135m-instruct")
    rendering = PromptRenderer(tokenizer, PromptTemplates("{question}", "{context} {question}"))
    for prefix in ("", "It was cold last night."):
        found = locate_edit(rendering, edit(question, subject), prefix)
        assert rendering.decode(found.head).endswith(subject)
        assert tokenizer.decode([found.ids[found.position]]) == last
