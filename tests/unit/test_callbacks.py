"""Callbacks: all events optional, failures contained unless the callback is required."""

import inspect
import logging
import sys
from pathlib import Path

import pytest

from nemo_mixsd.callbacks import Callback, CallbackRunner
from nemo_mixsd.config import CallbackConfig
from nemo_mixsd.errors import ConfigError

MODULE = """
heard = []

class Full:
    def __init__(self, tag="full"):
        self.tag = tag
    def on_targets_ready(self, name, path): heard.append((self.tag, "targets", name, path))
    def on_train_step(self, name, step, metrics): heard.append((self.tag, "step", name, step, metrics))
    def on_validation(self, name, step, metrics): heard.append((self.tag, "validation", name, step, metrics))
    def on_checkpoint_saved(self, name, step, path): heard.append((self.tag, "saved", name, step, path))
    def on_train_end(self, name, step, path): heard.append((self.tag, "end", name, step, path))

class Partial:
    def on_train_end(self, name, step, path): heard.append(("partial", "end", name, step, path))

class Broken:
    def on_train_step(self, name, step, metrics): raise ZeroDivisionError("no luck")

value = 3
"""


@pytest.fixture
def heard(tmp_path, monkeypatch):
    (tmp_path / "my_hooks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_hooks", None)
    import my_hooks

    yield my_hooks.heard
    sys.modules.pop("my_hooks", None)


def runner(*configs):
    return CallbackRunner.from_config([CallbackConfig(**c) for c in configs])


def test_every_event_reaches_who_has_it_in_order(heard):
    run = runner(
        {"name": "my_hooks.Full"}, {"name": "my_hooks.Partial"}, {"name": "my_hooks.Full", "kwargs": {"tag": "two"}}
    )
    path = Path("x")
    run.emit("on_targets_ready", "sft", path)
    run.emit("on_train_step", "sft", 1, {"loss": 2.0})
    run.emit("on_validation", "sft", 2, {"train_accuracy": 1.0})
    run.emit("on_checkpoint_saved", "sft", 2, path)
    run.emit("on_train_end", "sft", 2, path)
    for tag in ("full", "two"):
        assert [h for h in heard if h[0] == tag] == [
            (tag, "targets", "sft", path),
            (tag, "step", "sft", 1, {"loss": 2.0}),
            (tag, "validation", "sft", 2, {"train_accuracy": 1.0}),
            (tag, "saved", "sft", 2, path),
            (tag, "end", "sft", 2, path),
        ]
    assert [h[0] for h in heard if h[1] == "end"] == ["full", "partial", "two"]


def test_a_failing_callback_is_logged_and_the_next_ones_are_called(heard, caplog):
    run = runner({"name": "my_hooks.Broken"}, {"name": "my_hooks.Full"})
    with caplog.at_level(logging.ERROR, logger="nemo_mixsd"):
        run.emit("on_train_step", "sft", 1, {})
    assert heard == [("full", "step", "sft", 1, {})]
    assert "callback my_hooks.Broken failed in on_train_step; the run goes on" in caplog.text
    assert "no luck" in caplog.text  # with its traceback


def test_a_failing_required_callback_ends_the_run(heard):
    run = runner({"name": "my_hooks.Broken", "required": True}, {"name": "my_hooks.Full"})
    with pytest.raises(ZeroDivisionError, match="no luck"):
        run.emit("on_train_step", "sft", 1, {})
    assert heard == []
    run.emit("on_train_end", "sft", 1, Path("x"))  # it has no such method
    assert [h[1] for h in heard] == ["end"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"name": "Full"}, "'Full' is no dotted name of a class"),
        ({"name": "no_such_module.Full"}, "'no_such_module.Full' cannot be imported: No module named"),
        ({"name": "my_hooks.Missing"}, "'my_hooks.Missing' cannot be imported: .*Missing"),
        ({"name": "my_hooks.Full", "kwargs": {"colour": 1}}, "does not take its kwargs {'colour': 1}: .*colour"),
        ({"name": "my_hooks.value"}, "'my_hooks.value' does not take its kwargs .*not callable"),
        ({"name": "..my_hooks.Full"}, "cannot be imported"),
    ],
)
def test_bad_names_and_arguments(heard, config, text):
    with pytest.raises(ConfigError, match=text) as caught:
        runner(config)
    assert str(caught.value).startswith("callbacks: ")


def test_no_callbacks():
    CallbackRunner().emit("on_train_end", "sft", 1, Path("x"))


def test_the_protocol_lists_every_event():
    from typing import get_args

    from nemo_mixsd.callbacks import Event

    methods = [name for name, _ in inspect.getmembers(Callback, inspect.isfunction) if name.startswith("on_")]
    assert sorted(methods) == sorted(get_args(Event))
