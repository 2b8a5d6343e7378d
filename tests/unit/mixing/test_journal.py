"""The journal: whatever happens to it, what is whole stays and the rest is generated again."""

import os
import subprocess
import sys
import textwrap

import pytest

from nemo_mixsd.errors import JournalError, StorageError
from nemo_mixsd.io import read_jsonl, write_jsonl
from nemo_mixsd.mixing.journal import Journal, fingerprint, finish, generate
from nemo_mixsd.types import Discard, MixRequest, Target
from tests.samples import target


def discard(i, name="mixsd@0.3"):
    return Discard(f"e{i}", name, 11, "blue", "green", "'blue' does not stand in the text")


OUTCOMES = [target(0), discard(1), target(2, text="é\n\u2028🙂"), target(3)]


def fill(path, outcomes=OUTCOMES, key="k"):
    journal = Journal(path, key)
    for outcome in outcomes:
        journal.append(outcome)
    journal.close()


def contents(journal):
    return [journal.read(i) for i in journal.ids()]


def test_what_is_appended_is_read_again_in_any_order(tmp_path):
    path = tmp_path / "deep" / "j"
    journal = Journal(path, "k")
    for outcome in OUTCOMES:
        assert outcome.example_id not in journal
        journal.append(outcome)
        assert journal.read(outcome.example_id) == outcome  # reading between writes
        assert journal.read("e0") == OUTCOMES[0]
    journal.close()
    again = Journal(path, "k")
    assert len(again) == 4
    assert contents(again) == OUTCOMES
    assert [again.kind(f"e{i}") for i in range(4)] == ["target", "discard", "target", "target"]
    assert list(again.ids("discard")) == ["e1"]
    assert list(again.ids("target")) == ["e0", "e2", "e3"]
    again.append(target(4))
    assert contents(again) == [*OUTCOMES, target(4)]
    again.remove()
    assert not path.exists()


def test_every_record_is_synced_before_append_returns(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    journal = Journal(tmp_path / "j", "k")
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd)))
    journal.append(OUTCOMES[0])
    assert synced == [(tmp_path / "j").stat().st_size]


def test_a_file_cut_at_every_byte_recovers_the_whole_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # thousands of syncs are slow, and another test's subject
    path = tmp_path / "j"
    fill(path)
    whole = path.read_bytes()
    ends = [i + 1 for i, b in enumerate(whole) if b == 10]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        journal = Journal(path, "k")
        kept = max(0, sum(end <= cut for end in ends) - 1)  # the first line is the header
        assert contents(journal) == OUTCOMES[:kept], cut
        for outcome in OUTCOMES[kept:]:
            assert outcome.example_id not in journal
            journal.append(outcome)
        journal.close()
        assert path.read_bytes() == whole, cut


def test_another_key_is_refused_and_nothing_is_touched(tmp_path):
    path = tmp_path / "j"
    fill(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"belongs to another configuration \(key k, now other\).*delete the file"):
        Journal(path, "other")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, b"not json"),
        (1, b"[]"),
        (2, b"\x00\x00\x00"),
        (2, b"{}"),
        (3, b'{"kind": "sample", "example_id": "e1"}'),
        (3, b'{"kind": "target", "example_id": "e1"}'),
        (3, b"\xff\xfe"),
        (3, b'{"kind": "target", "example_id": "e1", "prompt_ids": [1], "token_ids": 5, "from_naive": [], '
            b'"attempts": 1, "finish_reason": "stop", "text": ""}'),
        (4, b'[1, 2]'),
    ],
)  # fmt: skip
def test_damage_before_the_last_line_is_an_error_with_its_place(tmp_path, number, line):
    path = tmp_path / "j"
    fill(path)
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = line
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(JournalError, match=rf"j:{number} is damaged|belongs to another") as caught:
        Journal(path, "k")
    assert "delete the file" in str(caught.value)


def test_a_journal_that_cannot_be_opened(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot open the journal"):
        Journal(tmp_path / "file" / "j", "k")


@pytest.mark.parametrize("at", range(1, 5))
def test_a_failing_sync_leaves_the_journal_whole_and_usable(tmp_path, monkeypatch, at):
    path = tmp_path / "j"
    journal = Journal(path, "k")
    for outcome in OUTCOMES[: at - 1]:
        journal.append(outcome)
    before = path.read_bytes()
    real = os.fsync

    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=f"No space left on device.*same command again: {at - 1} finished"):
        journal.append(OUTCOMES[at - 1])
    assert path.read_bytes() == before
    assert len(journal) == at - 1
    monkeypatch.setattr(os, "fsync", real)
    for outcome in OUTCOMES[at - 1 :]:
        journal.append(outcome)
    assert contents(journal) == OUTCOMES


def test_a_full_disk_in_a_real_process(tmp_path):
    path = tmp_path / "j"
    script = textwrap.dedent(
        f"""
        import resource, signal, sys
        from pathlib import Path
        from nemo_mixsd.errors import StorageError
        from nemo_mixsd.mixing.journal import Journal
        from nemo_mixsd.types import Discard
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = Journal(Path({str(path)!r}), "k")
        resource.setrlimit(resource.RLIMIT_FSIZE, (3333, 3333))
        for i in range(1000):
            try:
                journal.append(Discard(f"e{{i}}", "m", 1, "a", "x" * (i * 37 % 200), "r"))
            except StorageError:
                print(i)
                sys.exit(7)
        """
    )
    child = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, capture_output=True, text=True)
    assert child.returncode == 7, child.stderr
    finished = int(child.stdout)
    assert finished > 5
    assert path.read_bytes().endswith(b"\n")
    assert path.stat().st_size <= 3333
    journal = Journal(path, "k")
    assert list(journal.ids()) == [f"e{i}" for i in range(finished)]
    journal.append(target(5000))


def request(i, ids=(2, 10, 3)):
    return MixRequest(f"e{i}", tuple(ids), (2, 11, 3), "blue")


class FakeMixer:
    """Yields one outcome a request, last first within each pair, and counts."""

    def __init__(self, fail_after=None):
        self.made = []
        self.fail_after = fail_after

    def run(self, requests):
        for request in requests:
            if self.fail_after is not None and len(self.made) == self.fail_after:
                raise KeyboardInterrupt
            self.made.append(request.example_id)
            yield next(o for o in OUTCOMES if o.example_id == request.example_id)


@pytest.mark.parametrize("fail_after", range(4))
def test_nothing_finished_is_generated_twice(tmp_path, fail_after):
    path = tmp_path / "j"
    first, second, seen = FakeMixer(fail_after), FakeMixer(), []
    with pytest.raises(KeyboardInterrupt):
        generate([request(i) for i in range(4)], first, Journal(path, "k"))
    journal = Journal(path, "k")
    generate([request(i) for i in (2, 3, 0, 1)], second, journal, seen.append)
    assert sorted(first.made + second.made) == ["e0", "e1", "e2", "e3"]
    assert len(first.made) == fail_after
    assert sorted(o.example_id for o in seen) == sorted(second.made)
    assert sorted(contents(journal), key=lambda o: o.example_id) == OUTCOMES


def test_an_outcome_is_on_disk_when_it_is_told(tmp_path):
    path = tmp_path / "j"

    def check(outcome):
        assert outcome.example_id.encode() in path.read_bytes()

    generate([request(i) for i in range(4)], FakeMixer(), Journal(path, "k"), check)


def test_another_prompt_under_the_same_id_is_refused(tmp_path):
    path = tmp_path / "j"
    fill(path)
    with pytest.raises(JournalError, match="example 'e2' has another prompt"):
        generate([request(0), request(1), request(2, ids=(9,)), request(3)], FakeMixer(), Journal(path, "k"))


def test_finish_writes_corpus_order_and_merges_discards(tmp_path):
    targets, discarded = tmp_path / "t.jsonl", tmp_path / "discarded.jsonl"
    write_jsonl(discarded, [discard(7, "mixsd@0.5"), discard(3, "mixsd@0.3"), discard(1, "mixsd@0")])
    journal = Journal(tmp_path / "j", "k")
    for outcome in OUTCOMES:
        journal.append(outcome)
    assert finish(journal, iter(["e3", "e1", "e0", "e2"]), targets, discarded, "mixsd@0.3") == (3, 1)
    assert list(read_jsonl(targets, Target)) == [OUTCOMES[3], OUTCOMES[0], OUTCOMES[2]]
    assert list(read_jsonl(discarded, Discard)) == [discard(7, "mixsd@0.5"), discard(1, "mixsd@0"), discard(1)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["discarded.jsonl", "t.jsonl"]


def test_order_of_completion_does_not_show_in_the_files(tmp_path):
    written = []
    for n, outcomes in enumerate((OUTCOMES, OUTCOMES[::-1])):
        journal = Journal(tmp_path / "j", "k")
        for outcome in outcomes:
            journal.append(outcome)
        paths = tmp_path / f"t{n}", tmp_path / f"d{n}"
        finish(journal, ["e0", "e1", "e2", "e3"], *paths, "mixsd@0.3")
        written.append([p.read_bytes() for p in paths])
    assert written[0] == written[1]


def test_a_finish_that_was_cut_off_can_be_done_again(tmp_path, monkeypatch):
    targets, discarded = tmp_path / "t.jsonl", tmp_path / "d.jsonl"
    fill(tmp_path / "j")
    real, calls = os.replace, []

    def fail_second(src, dst):
        calls.append(dst)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(src, dst)

    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(StorageError):
        finish(Journal(tmp_path / "j", "k"), ["e0", "e1", "e2", "e3"], targets, discarded, "mixsd@0.3")
    assert not targets.exists()
    assert (tmp_path / "j").exists()
    finish(Journal(tmp_path / "j", "k"), ["e0", "e1", "e2", "e3"], targets, discarded, "mixsd@0.3")
    assert len(list(read_jsonl(discarded, Discard))) == 1
    assert len(list(read_jsonl(targets, Target))) == 3


def test_fingerprint():
    assert fingerprint("a", {"x": 1, "y": 2}) == fingerprint("a", {"y": 2, "x": 1})
    assert len({fingerprint("a", 1), fingerprint("a", 2), fingerprint("a1"), fingerprint(["a", 1])}) == 4
