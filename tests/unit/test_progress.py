"""Progress: lines where there is no terminal, a bar where there is one."""

import logging
from types import SimpleNamespace

import pytest

from nemo_mixsd import progress
from nemo_mixsd.progress import track


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    return Clock


def test_lines_have_count_rate_and_time_left(clock, caplog):
    with caplog.at_level(logging.INFO, logger="nemo_mixsd"), track("mix", 100, "targets", done=40) as task:
        for _ in range(10):
            clock.now += 1.0
            task.advance()
        assert caplog.messages == []  # not every step
        clock.now += 10.0
        task.advance(10, "2 discarded")
        assert caplog.messages == ["mix: 60 of 100 targets, 1.0/s, 40 s left, 2 discarded"]
        clock.now += 19.0
        task.advance()
        assert len(caplog.messages) == 1
        clock.now += 1.0
        task.advance(39)
    assert caplog.messages[1] == "mix: 100 of 100 targets, 1.5/s, 0 s left"


def test_no_time_no_rate(clock, caplog):
    with caplog.at_level(logging.INFO, logger="nemo_mixsd"), track("x", 1) as task:
        task.advance()
    assert caplog.messages == ["x: 1 of 1 items, 0.0/s, time left unknown"]


def test_a_bar_on_a_terminal_and_no_lines(monkeypatch, capsys, caplog):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with caplog.at_level(logging.INFO, logger="nemo_mixsd"), track("answer", 4, "questions", done=1) as task:
        assert task._bar is not None
        task.advance(3, "note here")
        (row,) = task._bar.tasks
        assert (row.completed, row.total, row.fields["note"]) == (4, 4, "note here")
    out, err = capsys.readouterr()
    assert out == ""
    assert "answer" in err
    assert "4/4" in err
    assert caplog.messages == []


def test_the_bar_is_taken_down_when_the_work_fails(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with pytest.raises(ZeroDivisionError), track("x", 4) as task:
        raise ZeroDivisionError
    assert not task._bar.live.is_started
