"""Errors in one line and a status that scripts can read."""

import logging
import re

import pytest

from nemo_mixsd import console
from nemo_mixsd.console import one_line_errors, setup_logging
from nemo_mixsd.errors import ConfigError


@pytest.fixture(autouse=True)
def _keep_logging():
    root = logging.getLogger()
    before = root.level, list(root.handlers), logging.getLogger("nemo_mixsd").level
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.getLogger("nemo_mixsd").setLevel(before[2])


def test_our_errors_are_one_line_on_stderr_and_status_2(capsys):
    @one_line_errors
    def fail():
        raise ConfigError("mixing.rate: [bold]2[/bold] is above 1; " + "x" * 300)

    with pytest.raises(SystemExit) as caught:
        fail()
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: mixing.rate: [bold]2[/bold] is above 1; " + "x" * 300 + "\n"


def test_ctrl_c_is_status_130_and_says_how_to_go_on(capsys):
    @one_line_errors
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        fail()
    assert caught.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_other_errors_and_results_pass():
    @one_line_errors
    def work(x):
        """Doc."""
        return 6 / x

    assert work(2) == 3.0
    assert (work.__name__, work.__doc__) == ("work", "Doc.")
    with pytest.raises(ZeroDivisionError):
        work(0)


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
def test_levels(verbose, terminal, capsys, monkeypatch):
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: terminal, raising=False)
    setup_logging(verbose)
    logging.getLogger("nemo_mixsd.x").info("ours-info")
    logging.getLogger("nemo_mixsd.x").debug("ours-debug")
    logging.getLogger("other").info("theirs-info")
    logging.getLogger("other").warning("theirs-warning [not markup]")
    out, err = capsys.readouterr()
    err = re.sub("\x1b\\[[0-9;]*m", "", err)
    assert out == ""
    assert "ours-info" in err
    assert "theirs-warning [not markup]" in err
    assert ("ours-debug" in err) is verbose
    assert ("theirs-info" in err) is verbose
