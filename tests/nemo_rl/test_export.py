"""Checkpoints in the host's layouts become loadable where they stand."""

import stat
import sys

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from nemo_mixsd.errors import BackendError
from nemo_mixsd.nemo import export
from nemo_mixsd.nemo.compat import Host
from nemo_mixsd.nemo.export import publish
from tests.tiny import make_model, make_tokenizer


@pytest.fixture
def step(tmp_path):
    path = tmp_path / "step_7"
    (path / "policy" / "weights").mkdir(parents=True)
    (path / "config.yaml").write_text("policy: {}")
    return path


@pytest.mark.parametrize("place", ["", "model/consolidated"])
def test_in_process_and_dtensor_layouts(step, place):
    make_model().save_pretrained(step / "policy" / "weights" / place)
    make_tokenizer().save_pretrained(step / "policy" / "tokenizer")
    publish(step)
    publish(step)  # a resumed run may do it again
    AutoModelForCausalLM.from_pretrained(step)
    AutoTokenizer.from_pretrained(step)
    moved = step.rename(step.parent / "elsewhere")
    AutoModelForCausalLM.from_pretrained(moved)


def test_a_checkpoint_without_weights_says_what_to_set(step):
    with pytest.raises(BackendError, match="save_consolidated=true"):
        publish(step)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A clone of a host, with a converter written by the test."""
    script = tmp_path / "clone" / "examples" / "converters" / "convert_megatron_to_hf.py"
    script.parent.mkdir(parents=True)
    (tmp_path / "clone" / "nemo_rl").mkdir()
    monkeypatch.setattr(export, "find_host", lambda: Host("0.7.0", "release", tmp_path / "clone" / "nemo_rl"))
    monkeypatch.setenv("NEMO_RL_PY_EXECUTABLES_SYSTEM", "1")
    return script


CONVERTER = """
import argparse, sys
sys.path.insert(0, {repository!r})
from tests.tiny import make_model
parser = argparse.ArgumentParser()
for name in ("--config", "--megatron-ckpt-path", "--hf-ckpt-path"):
    parser.add_argument(name, required=True)
arguments = parser.parse_args()
assert arguments.megatron_ckpt_path.endswith("policy/weights/iter_0000000")
make_model().save_pretrained(arguments.hf_ckpt_path)
"""


def test_megatron_checkpoints_go_through_the_hosts_converter(step, host):
    (step / "policy" / "weights" / "iter_0000000").mkdir()
    make_tokenizer().save_pretrained(step / "policy" / "tokenizer")
    host.write_text(CONVERTER.format(repository=str(export.Path(__file__).parents[2])))
    publish(step)
    AutoModelForCausalLM.from_pretrained(step)
    AutoTokenizer.from_pretrained(step)
    host.write_text("raise SystemExit(9)")
    publish(step)  # what is converted is not converted again


def test_a_failed_conversion_shows_the_command(step, host):
    (step / "policy" / "weights" / "iter_0000000").mkdir()
    host.write_text("import sys; sys.exit('no such tensor')")
    with pytest.raises(BackendError, match=r"no such tensor.*--megatron-ckpt-path"):
        publish(step)


def test_without_the_converter_the_error_says_so(step, host):
    (step / "policy" / "weights" / "iter_0000000").mkdir()
    with pytest.raises(BackendError, match="installed without its examples"):
        publish(step)


def test_the_converter_runs_in_the_hosts_megatron_environment_by_default(step, host, monkeypatch):
    monkeypatch.delenv("NEMO_RL_PY_EXECUTABLES_SYSTEM")
    host.write_text("")
    command = export.converter_command(step, step, step)
    assert command[:5] == ["uv", "run", "--extra", "mcore", "python"]
    assert sys.executable not in command
    assert stat.S_ISREG(export.Path(command[5]).stat().st_mode)
