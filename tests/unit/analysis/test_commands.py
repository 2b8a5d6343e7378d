"""``nemo-mixsd analyze`` from the command line, on tiny checkpoints."""

import json

import pytest
from typer.testing import CliRunner

from nemo_mixsd.analysis.fisher import read_info
from nemo_mixsd.cli import app
from nemo_mixsd.io import write_jsonl
from tests.tiny import make_model, make_tokenizer
from tests.unit.analysis.fisher_witness import scored


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("analyze")
    for name, seed in (("base", 0), ("trained", 1)):
        make_model(seed).save_pretrained(root / name)
        make_tokenizer().save_pretrained(root / name)
    write_jsonl(root / "samples.jsonl", scored(6))
    (root / "texts.jsonl").write_text('{"prompt": "what is blue ?", "response": "sky"}\n')
    return root


def call(*words):
    result = CliRunner().invoke(app, ["analyze", *map(str, words)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_fisher_then_displacement(world, tmp_path):
    out = tmp_path / "f.safetensors"
    samples = ("--samples", world / "samples.jsonl", "--samples", world / "texts.jsonl")
    code, text = call("fisher", "--model", world / "base", *samples, "--out", out, "--memory", "disk")
    assert code == 0, text
    assert "7 samples" in text and read_info(out).done == 7
    kept = tmp_path / "d.json"
    code, text = call("displacement", world / "base", world / "trained", "--fisher", out, "--out", kept)
    assert code == 0, text
    assert "attention" in text and "total" in text
    assert json.loads(kept.read_text())["alignment"] > 0
    code, text = call("displacement", world / "base", world / "trained", "--by", "layer")
    assert code == 0 and "–" in text


def test_shards_and_their_merge(world, tmp_path):
    out = tmp_path / "f"
    for shard in ("0/2", "1/2"):
        code, text = call(
            "fisher", "--model", world / "base", "--samples", world / "samples.jsonl", "--out", out, "--shard", shard
        )
        assert code == 0, text
        assert f"shard {shard[0]} of 2" in text
    code, text = call("fisher", "--merge", f"{out}.shard-0-of-2", "--merge", f"{out}.shard-1-of-2", "--out", out)
    assert code == 0, text
    assert read_info(out).done == 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fisher", "--out", "f"], "--model is missing"),
        (["fisher", "--out", "f", "--model", "MODEL"], "--samples is missing"),
        (["fisher", "--out", "f", "--model", "MODEL", "--memory", "tape"], "choose device, host or disk"),
        (["fisher", "--out", "f", "--model", "MODEL", "--shard", "2/2"], "write i/n"),
        (["fisher", "--out", "f", "--model", "MODEL", "--samples", "gone.jsonl"], "cannot read the samples"),
        (["fisher", "--out", "f", "--merge", "gone"], "gone is missing"),
        (["displacement", "MODEL", "gone"], "gone is no checkpoint"),
        (["displacement", "MODEL", "MODEL", "--by", "weight"], "choose kind or layer"),
        (["correlate", "gone"], "no run directory"),
    ],
)
def test_bad_input_is_one_line(world, words, says):
    code, text = call(*[world / "base" if w == "MODEL" else w for w in words])
    assert code == 2
    assert says in " ".join(text.split())
