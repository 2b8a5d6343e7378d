"""NLL of a file of targets: the same as in a run, resumable, and bad files refused before a model is loaded."""

import json

import pytest

from nemo_mixsd.analysis import score_file as module
from nemo_mixsd.analysis.nll import score_targets
from nemo_mixsd.analysis.score_file import check_tokenizer, overlap_with, read_targets, score_file, summary
from nemo_mixsd.errors import CorpusError, JournalError
from nemo_mixsd.io import write_jsonl
from tests.samples import target
from tests.tiny import VOCABULARY, make_tokenizer


def texts(count=9):
    tokenizer = make_tokenizer()
    out = []
    for i in range(count):
        text = " ".join(["the", "sky", "is", "blue", "red", "sea"][: 1 + i % 6])
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        out.append(target(i, prompt=(2, 10 + i, 3), tokens=(*ids, 1), text=text))
    return out


@pytest.fixture
def file(tmp_path):
    write_jsonl(tmp_path / "given.jsonl", texts())
    return read_targets(tmp_path / "given.jsonl", VOCABULARY)


def test_scores_are_those_of_a_run(file, tiny_model, tmp_path):
    got = score_file(file, tiny_model, make_tokenizer(), tmp_path / "out", 4)
    wanted = score_targets(tiny_model, file.targets, tmp_path / "wanted.jsonl", 1)
    assert [r.example_id for r in got] == [t.example_id for t in file.targets]
    for a, b in zip(got, wanted):
        assert a.nll == pytest.approx(b.nll, abs=1e-4)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["given.nll.jsonl", "given.tokens.jsonl"]
    pieces = [json.loads(x)["pieces"] for x in (tmp_path / "out" / "given.tokens.jsonl").read_text().splitlines()]
    assert all(len(p) == len(t.token_ids) for p, t in zip(pieces, file.targets))
    found = summary("given", got)
    assert found["tokens"] == sum(len(t.token_ids) for t in file.targets)
    assert [each["threshold"] for each in found["above"]] == [3, 4, 5, 6, 7, 8]
    assert overlap_with(file, got, file).mean in (None, 1.0)


def test_a_killed_start_goes_on(file, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 1)
    calls = []
    real = module.token_nll

    def counted(model, sequences, *rest):
        calls.append([s.id for s in sequences])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(model, sequences, *rest)

    monkeypatch.setattr(module, "token_nll", counted)
    with pytest.raises(KeyboardInterrupt):
        score_file(file, tiny_model, make_tokenizer(), tmp_path / "out", 2)
    assert not (tmp_path / "out" / "given.nll.jsonl").exists()
    done = {i for part in calls[:2] for i in part}
    got = score_file(file, tiny_model, make_tokenizer(), tmp_path / "out", 2)
    again = {i for part in calls[3:] for i in part}
    assert done & again == set()
    assert len(got) == len(file.targets)
    before = len(calls)
    score_file(file, tiny_model, make_tokenizer(), tmp_path / "out", 2)
    assert len(calls) == before


def test_a_journal_of_another_file_is_refused(file, tiny_model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".given.nll.jsonl.journal").write_text('{"journal": 1, "key": "other"}\n')
    with pytest.raises(JournalError, match="another configuration"):
        score_file(file, tiny_model, make_tokenizer(), tmp_path / "out", 2)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "holds no targets"),
        (['{"a": 1}'], "bad.jsonl:1: unknown field 'a'"),
        (["nonsense"], "bad.jsonl:1:"),
        ([target(0), target(1), target(0)], "bad.jsonl:3: example_id 'e0' occurs twice"),
        ([target(0), target(1, tokens=(VOCABULARY, 1))], f"bad.jsonl:2: token id {VOCABULARY} is not in"),
        ([target(0, prompt=(-1,))], "token id -1"),
        ([target(0, prompt=())], "has no token"),
        ([target(0, tokens=())], "has no token"),
    ],
)
def test_bad_files(tmp_path, lines, words):
    path = tmp_path / "bad.jsonl"
    if lines and isinstance(lines[0], str):
        path.write_text("\n".join(lines) + "\n")
    else:
        write_jsonl(path, lines)
    with pytest.raises(CorpusError, match=r"bad\.jsonl") as error:
        read_targets(path, VOCABULARY)
    assert words in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(CorpusError, match="no such file"):
        read_targets(tmp_path / "none.jsonl")


def test_targets_of_another_tokenizer_are_refused(file):
    check_tokenizer(file, make_tokenizer())
    moved = [target(i, tokens=(40, 41, 42), text=t.text) for i, t in enumerate(file.targets)]
    wrong = module.TargetFile(file.path, file.name, tuple(moved), "d")
    with pytest.raises(CorpusError, match="made with another tokenizer"):
        check_tokenizer(wrong, make_tokenizer())
