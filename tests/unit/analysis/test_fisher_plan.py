"""What ``analysis.fisher`` refuses before anything is loaded, and the hook that a run gets from it."""

import pytest

from nemo_mixsd.analysis.callback import DisplacementCallback
from nemo_mixsd.analysis.fisher_plan import check_fisher, fisher_line
from nemo_mixsd.analysis.fisher_stage import shard_devices
from nemo_mixsd.callbacks import Callback, CallbackRunner
from nemo_mixsd.config import CallbackConfig
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.io import read_json
from tests.samples import make_config
from tests.tiny import make_model


def fisher(**changes):
    return make_config(**{f"analysis__fisher__{k}": v for k, v in {"enabled": True, **changes}.items()})


def test_one_source_is_a_list_of_one():
    assert fisher(source="targets/sft").analysis.fisher.source == ["targets/sft"]
    check_fisher(fisher(source="targets/sft"), ["sft"])
    check_fisher(fisher(), [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": "targets/opsd"}, "no 'targets/opsd' in this run; there is targets/sft"),
        ({"source": ["reference", "gone.jsonl"]}, "no file 'gone.jsonl'"),
        ({"source": []}, "at least 1 item"),
        ({"memory": "gpu"}, "analysis.fisher.memory: 'gpu'"),
        ({"samples": 0}, "analysis.fisher.samples: 0"),
    ],
)
def test_bad_keys_are_named(changes, says):
    with pytest.raises(ConfigError, match=says):
        check_fisher(fisher(**changes), ["sft"])


def test_reference_needs_the_forgetting_measure():
    config = make_config(analysis__fisher__enabled=True, evals__forgetting__enabled=False)
    with pytest.raises(ConfigError, match=r"evals\.forgetting\.enabled=true"):
        check_fisher(config, [])


def test_off_asks_for_nothing():
    check_fisher(fisher(enabled=False, source="gone.jsonl"), [])


def test_the_plan_says_what_is_computed():
    line = fisher_line(fisher(source=["reference", "targets/sft"], samples=None).analysis.fisher)
    assert "all samples of reference, targets/sft" in line


def test_without_a_gpu_processes_share_the_cpu(monkeypatch):
    monkeypatch.setattr("nemo_mixsd.models.default_device", lambda: "cpu")
    assert shard_devices(None) == ["cpu"]
    assert shard_devices(3) == ["cpu"] * 3


def test_as_a_callback_of_a_recipe(tmp_path):
    make_model(0).save_pretrained(tmp_path / "base")
    make_model(1).save_pretrained(tmp_path / "step_5")
    kwargs = {"base": str(tmp_path / "base"), "out": str(tmp_path / "out")}
    config = CallbackConfig(name="nemo_mixsd.analysis.callback.DisplacementCallback", required=True, kwargs=kwargs)
    CallbackRunner.from_config([config]).emit("on_checkpoint_saved", "sft", 5, tmp_path / "step_5")
    found = read_json(tmp_path / "out" / "sft" / "5.json")
    assert found["raw"] > 0 and found["alignment"] is None and found["fisher"] is None
    assert set(found["layers"]) == {"other", "0", "1"}


def test_one_more_callback_does_not_end_a_run(tmp_path, caplog):
    hook = DisplacementCallback(str(tmp_path), str(tmp_path / "out"))
    assert not isinstance(hook, Callback)  # all methods are optional
    CallbackRunner().plus(hook).emit("on_checkpoint_saved", "sft", 1, tmp_path)
    assert "DisplacementCallback failed in on_checkpoint_saved" in caplog.text
