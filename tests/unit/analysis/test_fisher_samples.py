"""Samples from files of several kinds."""

import json

import pytest

from nemo_mixsd.analysis.fisher_samples import ChatEncoder, choose_samples, read_samples
from nemo_mixsd.analysis.nll import Scored
from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.types import Response
from tests.samples import target
from tests.tiny import EOS


def never():
    raise AssertionError("no text, no tokenizer")


def write(path, *records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_ids_need_no_tokenizer(tmp_path):
    write_jsonl(tmp_path / "sft.jsonl", [target(0), target(1)])
    path = write(tmp_path / "own.jsonl", {"id": "x", "prompt_ids": [5], "token_ids": [6, 7]})
    assert read_samples([tmp_path / "sft.jsonl", path], never) == [
        Scored("e0", (2, 10, 3), (20, 21, EOS)),
        Scored("e1", (2, 10, 3), (20, 21, EOS)),
        Scored("x", (5,), (6, 7)),
    ]


def test_texts_are_rendered_as_chats(tiny_tokenizer, tmp_path):
    encoder = ChatEncoder(tiny_tokenizer)
    response = Response("r", "what is blue ?", "sky", "sky", True, "stop", (30, EOS))
    write_jsonl(tmp_path / "eval.jsonl", [response])
    path = write(tmp_path / "own.jsonl", {"prompt": "what ?", "response": "red"}, {"question": "who ?", "answer": "w"})
    first, second, third = read_samples([tmp_path / "eval.jsonl", path], lambda: encoder)
    assert first == Scored("r", encoder.encode("what is blue ?"), (30, EOS))
    assert tiny_tokenizer.decode(second.prompt_ids) == tiny_tokenizer.decode(encoder.encode("what ?"))
    assert second.id == "own-1" and second.token_ids == (tiny_tokenizer.convert_tokens_to_ids("red"), EOS)
    assert third.token_ids[-1] == EOS


def test_equal_ids_of_two_files_are_told_apart(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", {"id": "x", "prompt_ids": [5], "token_ids": [6]})
    assert [s.id for s in read_samples([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], never)] == ["x", "b/x"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "bad.jsonl:2"),
        ("[1]", "not a JSON object"),
        ('{"prompt_ids": [1]}', "neither token_ids nor a text under response or target or answer"),
        ('{"token_ids": [1]}', "neither prompt_ids nor a text under prompt or question"),
        ('{"prompt_ids": [1], "token_ids": ["a"]}', "no list of token ids"),
        ('{"id": "q", "prompt_ids": [1], "token_ids": []}', "'q' has no target tokens"),
    ],
)
def test_bad_lines_are_named(tmp_path, tiny_tokenizer, line, says):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt_ids": [1], "token_ids": [2]}\n' + line + "\n")
    with pytest.raises(AnalysisError, match=says):
        read_samples([path], lambda: ChatEncoder(tiny_tokenizer))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AnalysisError, match=r"gone\.jsonl"):
        read_samples([tmp_path / "gone.jsonl"], never)


def test_a_subset_is_a_function_of_the_seed():
    samples = [Scored(str(i), (1,), (2,)) for i in range(50)]
    assert choose_samples(samples, 8, 1) == choose_samples(samples, 8, 1) != choose_samples(samples, 8, 2)
    assert len({s.id for s in choose_samples(samples, 8, 1)}) == 8
    assert choose_samples(samples, None, 1) == choose_samples(samples, 60, 1) == samples
