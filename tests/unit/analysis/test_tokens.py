"""Token texts, high-NLL types and their overlap, against hand values and brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.analysis.tokens import keep_pieces, overlap, read_pieces, token_pieces, unlikely_types
from tests.samples import target
from tests.tiny import make_tokenizer


def byte_tokenizer():
    """Every byte is a token: the hardest case for texts of single tokens."""
    from tokenizers.pre_tokenizers import ByteLevel

    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}, merges=[]))
    raw.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    return raw


@given(st.text(max_size=30))
def test_pieces_join_to_the_text_whatever_the_bytes(text):
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode(text).ids
    pieces = token_pieces(lambda ids: tokenizer.decode(ids, skip_special_tokens=False), ids)
    assert len(pieces) == len(ids) == len(text.encode())
    assert "".join(pieces) == text
    if "�" not in text:
        assert all(len(piece) <= 1 for piece in pieces)


def test_bytes_that_are_no_text_do_not_get_lost():
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode("aé").ids[:-1]  # ends inside a character
    assert "".join(token_pieces(lambda ids: tokenizer.decode(ids, skip_special_tokens=False), ids)) == "a�"
    assert token_pieces(lambda ids: "x", []) == ()


def test_spaces_and_special_tokens_are_kept(tmp_path):
    tokenizer = make_tokenizer()
    ids = tokenizer("the sky is blue .", add_special_tokens=False)["input_ids"]
    t = target(0, tokens=(*ids, tokenizer.eos_token_id))
    keep_pieces(lambda ids: tokenizer.decode(ids, clean_up_tokenization_spaces=False), [t], tmp_path / "p.jsonl")
    pieces = read_pieces(tmp_path / "p.jsonl")[t.example_id]
    assert [p.strip() for p in pieces] == ["the", "sky", "is", "blue", ".", "<eos>"]
    assert "".join(pieces) == tokenizer.decode(list(t.token_ids), clean_up_tokenization_spaces=False)
    assert read_pieces(tmp_path / "none.jsonl") == {}


def test_the_work_is_linear():
    calls = []

    def decode(ids):
        calls.append(len(ids))
        return "".join(chr(97 + i % 26) for i in ids)

    token_pieces(decode, list(range(500)))
    assert max(calls) <= 2
    assert len(calls) == 1000


def records(*rows):
    return [TokenNLL(f"e{i}", tuple(row)) for i, row in enumerate(rows)]


SFT = [target(0, tokens=(20, 21, 21, 1)), target(1, tokens=(30, 31, 1)), target(2, tokens=(40, 1)),
       target(3, tokens=(50, 51, 1))]  # fmt: skip
NLL = records((9.0, 9.5, 1.0, 0.1), (8.0, 8.1, 0.0), (1.0, 2.0), (12.0, 11.0, 9.0))


def test_overlap_by_hand():
    # e0: {20, 21}, both there; e1: {31} (8.0 is not above 8), not there; e2: nothing high; e3: discarded by the other
    other = [target(1, tokens=(30, 33, 1)), target(0, tokens=(5, 21, 6, 20)), target(2, tokens=(40,))]
    found = overlap(SFT, NLL, other)
    assert (found.examples, found.types, found.shared) == (2, 3, 2)
    assert found.mean == 0.5
    assert found.pooled == pytest.approx(2 / 3)
    assert (found.low, found.high) == (0.0, 1.0)  # sd of 1 and 0 over two examples reaches beyond both ends


def test_overlap_of_sft_with_itself_is_whole_and_of_nothing_is_none():
    found = overlap(SFT, NLL, SFT)
    assert (found.mean, found.pooled, found.low, found.high) == (1.0, 1.0, 1.0, 1.0)
    nothing = overlap(SFT, NLL, [])
    assert (nothing.examples, nothing.mean, nothing.pooled, nothing.low) == (0, None, None, None)
    one = overlap(SFT[:1], NLL[:1], SFT)
    assert (one.mean, one.low, one.high) == (1.0, None, None)


def test_the_interval_covers_the_truth():
    from nemo_mixsd.mixing.coins import uniforms

    hits = 0
    for trial in range(300):
        flips = uniforms("test", trial, "x", 0, 0, 40) < 0.7
        sft = [target(i, tokens=(20 + i, 1)) for i in range(40)]
        nll = records(*[(9.0, 0.0)] * 40)
        other = [target(i, tokens=(20 + i if kept else 5, 1)) for i, kept in enumerate(flips)]
        found = overlap(sft, nll, other)
        hits += found.low <= 0.7 <= found.high
    assert 0.9 < hits / 300 <= 1.0


def test_scores_of_another_target_are_refused():
    with pytest.raises(ValueError, match="4 tokens but 3 of NLL"):
        overlap(SFT[:1], records((9.0, 1.0, 1.0)), SFT)


def test_unlikely_types_by_hand():
    pieces = {"e0": ("sky", " blue", " blue", "<eos>"), "e1": ("a", "", "<eos>"), "e3": ("x", "y", "<eos>")}
    found = unlikely_types(SFT, NLL, pieces)
    assert [(t.token_id, t.text, t.count, t.occurrences, t.mean_nll) for t in found] == [
        (50, "x", 1, 1, 12.0), (51, "y", 1, 1, 11.0), (21, " blue", 1, 2, 9.5), (1, "<eos>", 1, 4, 9.0),
        (20, "sky", 1, 1, 9.0), (31, "<31>", 1, 1, 8.1),
    ]  # fmt: skip
    assert sum(t.count for t in found) == sum(v > 8 for r in NLL for v in r.nll)
    assert unlikely_types(SFT, NLL[:1], {}, threshold=9.2)[0].text == "<21>"
