"""The run directory: one owner, one configuration, differences named."""

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import yaml

from nemo_mixsd.errors import RunDirectoryError, StorageError
from nemo_mixsd.rundir import RunDirectory, check_same_configuration
from tests.samples import make_config, raw_recipe


@pytest.fixture
def config(tmp_path):
    def config(**changes):
        return make_config(run_dir=str(tmp_path / "run"), **changes)

    return config


def test_it_is_made_with_its_configuration(config, tmp_path):
    with RunDirectory(config(mixing__seed=5)) as directory:
        assert directory.path == tmp_path / "run"
        saved = yaml.safe_load(directory.config_file.read_text())
    assert saved["mixing"]["seed"] == 5
    assert saved["method"] == ["sft", "mixsd"]
    check_same_configuration(config(mixing__seed=5))


def test_paths_are_those_of_the_design(config, tmp_path):
    d, root = RunDirectory(config()), tmp_path / "run"
    assert d.corpus("train") == root / "corpus/train.jsonl"
    assert d.targets("mixsd@0.3") == root / "targets/mixsd@0.3.jsonl"
    assert d.discarded == root / "targets/discarded.jsonl"
    assert d.checkpoints("sft") == root / "checkpoints/sft"
    assert d.evals("sft", 60) == root / "evals/sft/60"
    assert d.target_nll("sft") == root / "analysis/target_nll/sft.jsonl"


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "sft"},
        {"mixing__rate": [0, 0.5]},
        {"mixing__max_in_flight": 3},
        {"evals__batch_size": 7},
        {"evals__checkpoints": "all"},
        {"analysis__batch_size": 3},
        {"logger__tensorboard_enabled": True},
        {"callbacks": [{"name": "a.B", "kwargs": {"x": 1}}]},
        {"checkpointing__keep_top_k": 2},
    ],
)
def test_what_changes_no_result_may_change(config, changes):
    with RunDirectory(config()):
        pass
    with RunDirectory(config(**changes)) as directory:
        saved = yaml.safe_load(directory.config_file.read_text())
    assert saved == config(**changes).model_dump(mode="json")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mixing__seed": 1}, "mixing.seed is 0 there and 1 now"),
        ({"mixing__max_new_tokens": 9}, "mixing.max_new_tokens is 8192 there and 9 now"),
        ({"policy__model_name": "a/b"}, "policy.model_name is 'owner/model' there and 'a/b' now"),
        ({"corpus": {"name": "jsonl", "path": "other.jsonl"}}, "corpus.path is 'facts.jsonl' there and 'other.jsonl'"),
        ({"prompts__system": "s"}, "prompts.system is None there and 's' now"),
        ({"evals__max_new_tokens": 3}, "evals.max_new_tokens is 64 there and 3 now"),
        ({"sft__val_period": 3}, "sft.val_period is None there and 3 now"),
    ],
)
def test_what_changes_results_is_named_with_the_choices(config, changes, text):
    with RunDirectory(config()) as directory:
        before = directory.config_file.read_bytes()
    with pytest.raises(RunDirectoryError) as caught, RunDirectory(config(**changes)):
        pass
    message = str(caught.value)
    assert text in message
    assert "Resume it with the old values" in message
    assert message.endswith(f"or start a new run with run_dir={directory.path}-2")
    assert directory.config_file.read_bytes() == before


def test_many_differences_are_counted(config):
    with RunDirectory(config()):
        pass
    other = config(
        mixing__seed=1, mixing__max_retries=1, mixing__max_new_tokens=1, sft__seed=1, sft__max_num_epochs=1,
        prompts__system="s", policy__precision="float32",
    )  # fmt: skip
    with pytest.raises(RunDirectoryError, match="and 2 more"):
        check_same_configuration(other)


def test_places_that_are_no_run_directory(config, tmp_path):
    check_same_configuration(config())  # nothing there: fine, and nothing is made
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunDirectoryError, match="is a file; give another one"):
        check_same_configuration(config())
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    check_same_configuration(config())
    (tmp_path / "run" / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match=r"is not empty \(thesis\.tex, \.\.\.\) and holds no run"):
        check_same_configuration(config())
    with pytest.raises(StorageError, match="cannot be created"):
        RunDirectory(make_config(run_dir=str(tmp_path / "run" / "thesis.tex" / "deeper"))).__enter__()


def test_a_second_process_is_kept_out_and_a_dead_one_is_not_waited_for(config, tmp_path):
    script = textwrap.dedent(
        f"""
        import sys
        from nemo_mixsd.config import validate_config
        from nemo_mixsd.rundir import RunDirectory
        with RunDirectory(validate_config({raw_recipe(run_dir=str(tmp_path / "run"))!r}, "x")):
            print("locked", flush=True)
            sys.stdin.readline()
        """
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(RunDirectoryError, match="is in use by another process"), RunDirectory(config()):
            pass
        child.kill()
        child.wait(10)
        with RunDirectory(config()) as directory, pytest.raises(RunDirectoryError, match="in use"):
            RunDirectory(config()).__enter__()
        with directory:
            pass
    finally:
        child.kill()
        child.wait(10)
        child.stdin.close()
        child.stdout.close()


def test_the_clock_adds_up_even_when_the_work_fails(config, monkeypatch):
    from nemo_mixsd import rundir

    now = iter([0.0, 1.5, 10.0, 12.25, 20.0, 23.0])
    monkeypatch.setattr(rundir, "time", SimpleNamespace(monotonic=lambda: next(now)))
    d = RunDirectory(config())
    assert d.seconds() == {}
    with d.clock("sft", "train"):
        pass
    with pytest.raises(ZeroDivisionError), d.clock("sft", "train"):
        raise ZeroDivisionError
    with d.clock("base", "eval"):
        pass
    assert d.seconds() == {"sft": {"train": 3.75}, "base": {"eval": 3.0}}
