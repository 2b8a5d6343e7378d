"""Files: whole or not there."""

import json
import os
import resource
import subprocess
import sys
import textwrap

import pytest

from nemo_mixsd import io
from nemo_mixsd.errors import StorageError
from nemo_mixsd.types import Discard, Response
from tests.samples import target


def names(directory):
    return sorted(p.name for p in directory.iterdir())


def test_write_text_creates_parents_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "x.txt"
    io.write_text(path, "one\r\ntwo\n")
    assert path.read_bytes() == b"one\r\ntwo\n"  # newlines are left as they are
    io.write_text(path, "é")
    assert path.read_bytes() == "é".encode()
    assert names(path.parent) == ["x.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_error_inside_the_block_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "x.txt"
    io.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), io.atomic_writer(path) as handle:
        handle.write("new")
        handle.flush()
        assert len(names(tmp_path)) == 2
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_failing_system_call_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "x.txt"
    io.write_text(path, "old")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=r"cannot write .*x\.txt: No space left on device.*same command again"):
        io.write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_full_disk_in_a_real_process(tmp_path):
    """RLIMIT_FSIZE makes the kernel itself refuse the write in the middle of the file."""
    path = tmp_path / "x.jsonl"
    io.write_text(path, "old\n")
    script = textwrap.dedent(
        f"""
        import resource, signal, sys
        from pathlib import Path
        from nemo_mixsd.errors import StorageError
        from nemo_mixsd.io import write_jsonl
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            write_jsonl(Path({str(path)!r}), ({{"i": i}} for i in range(100000)))
        except StorageError as error:
            assert "cannot write" in str(error), error
            sys.exit(7)
        """
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 7
    assert path.read_text() == "old\n"
    assert names(tmp_path) == ["x.jsonl"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20000  # only the child was limited


def test_a_parent_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        io.write_text(tmp_path / "file" / "x.txt", "new")


def test_json_refuses_what_is_no_json(tmp_path):
    path = tmp_path / "x.json"
    io.write_json(path, {"a": 1, "ü": [None]})
    with pytest.raises(ValueError, match="JSON"):
        io.write_json(path, {"a": float("nan")})
    assert io.read_json(path) == {"a": 1, "ü": [None]}
    assert names(tmp_path) == ["x.json"]


def test_jsonl_round_trip_keeps_odd_texts_on_one_line_each(tmp_path):
    odd = ["plain", 'quote " and \\', "line\nbreak\r\n", "\u2028 \u2029 \x85 \x0b", "é 漢字 🙂", ""]
    records = [target(i, text=text) for i, text in enumerate(odd)]
    path = tmp_path / "t.jsonl"
    assert io.write_jsonl(path, iter(records)) == len(odd)
    assert path.read_bytes().count(b"\n") == len(odd)
    assert [r.text for r in io.read_jsonl(path, type(records[0]))] == odd
    assert list(io.read_jsonl(path, type(records[0]))) == records
    assert [json.loads(line)["text"] for line in path.read_text().split("\n")[:-1]] == odd


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("not json", "Expecting value"),
        ('{"example_id": "a"}', "field 'name' of Discard is missing"),
        (
            '{"example_id":"a","name":"b","attempts":1,"answer":"","last_text":"","reason":"","more":1}',
            "unknown field 'more' for Discard",
        ),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, text):
    path = tmp_path / "d.jsonl"
    good = io.dump_line({"example_id": "a", "name": "b", "attempts": 1, "answer": "", "last_text": "", "reason": ""})
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=r"d\.jsonl:2: ") as caught:
        list(io.read_jsonl(path, Discard))
    assert text in str(caught.value)


def test_equal_records_are_equal_bytes():
    response = Response("a", "p", "r", "x", True, "stop", (1, 2))
    assert io.dump_line(io.to_record(response)) == (
        '{"example_id": "a", "prompt": "p", "response": "r", "answer": "x", "correct": true, '
        '"finish_reason": "stop", "token_ids": [1, 2], "verdict": ""}'
    )
