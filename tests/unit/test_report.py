"""The report from a run directory made by hand."""

import json

import pytest
import yaml

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.io import write_json, write_jsonl
from nemo_mixsd.report import build_report, result_table, to_markdown, write_report
from nemo_mixsd.types import Discard, Response
from tests.samples import make_config, target


def responses(right, wrong):
    return [Response(f"q{i}", "p", "r", "a", i < right, "stop", ()) for i in range(right + wrong)]


def nll(*rows):
    return [TokenNLL(f"g{i}", tuple(row)) for i, row in enumerate(rows)]


@pytest.fixture
def run(tmp_path):
    """base, sft with two checkpoints, mixsd@0.5 without forgetting, mixsd@0 with nothing finished."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    evals = tmp_path / "evals"
    write_jsonl(evals / "base" / "0" / "train.jsonl", responses(1, 3))
    write_jsonl(evals / "base" / "0" / "paraphrase.jsonl", responses(0, 2))
    write_jsonl(evals / "base" / "0" / "reference.jsonl", [{"not": "a response"}])
    write_jsonl(evals / "base" / "0" / "reference_nll.jsonl", nll([1.0, 2.0], [3.0]))
    write_jsonl(evals / "sft" / "10" / "train.jsonl", responses(2, 2))
    write_jsonl(evals / "sft" / "10" / "reference_nll.jsonl", nll([1.0, 2.0], [3.3]))
    write_jsonl(evals / "sft" / "9" / "train.jsonl", responses(1, 3))
    write_jsonl(evals / "sft" / "100" / "train.jsonl", responses(3, 1))
    write_jsonl(evals / "sft" / "100" / "two_hop.jsonl", responses(1, 4))
    write_jsonl(evals / "sft" / "100" / "reference_nll.jsonl", nll([2.0, 3.0], [4.6]))
    write_jsonl(evals / "mixsd@0.5" / "100" / "train.jsonl", responses(4, 0))
    (evals / "mixsd@0" / "100").mkdir(parents=True)
    (evals / "mixsd@0" / "100" / ".train.jsonl.journal").write_text("half")
    write_jsonl(tmp_path / "targets" / "sft.jsonl", [target(0, attempts=0), target(1, attempts=0)])
    naive = (True, False, False)
    write_jsonl(
        tmp_path / "targets" / "mixsd@0.5.jsonl",
        [target(0, from_naive=naive, attempts=3), target(1, tokens=(5, 6), from_naive=(True, True), attempts=1)],
    )
    write_jsonl(
        tmp_path / "targets" / "discarded.jsonl",
        [Discard(f"d{i}", name, 11, "a", "t", "r") for i, name in enumerate(["mixsd@0.5", "mixsd@0.5", "mixsd@0.3"])],
    )
    write_jsonl(tmp_path / "analysis" / "target_nll" / "sft.jsonl", nll([0.5, 9.0, 3.5], [4.5, 0.0, 0.5]))
    write_json(tmp_path / "analysis" / "seconds.json", {"sft": {"train": 12.0}, "base": {"eval": 3.5}})
    return tmp_path


def test_report_json(run):
    write_report(run)
    report = json.loads((run / "report.json").read_text())
    assert (report["model"], report["corpus"]) == ("owner/model", "jsonl")
    methods = report["methods"]
    assert list(methods) == ["base", "sft", "mixsd@0.5"]
    base, sft, mixsd = methods.values()
    assert (base["train_accuracy"], base["paraphrase_accuracy"], base["forgetting_nats"]) == (0.25, 0.0, 0.0)
    assert (base["targets"], base["step"], base["seconds"]) == ({}, 0, {"eval": 3.5})
    assert (sft["train_accuracy"], sft["paraphrase_accuracy"], sft["step"]) == (0.75, None, 100)
    assert sft["forgetting_nats"] == pytest.approx(3.6 / 3)
    assert sft["splits"] == {"train": 0.75, "two_hop": 0.2}
    assert sft["counts"] == {"train": 4, "two_hop": 5}
    assert [c["step"] for c in sft["checkpoints"]] == [9, 10, 100]
    assert [c["forgetting_nats"] for c in sft["checkpoints"]] == [None, pytest.approx(0.1), pytest.approx(1.2)]
    assert sft["targets"] == {
        "n": 2, "discarded": 0, "tokens": 6, "mean_nll": 3.0,
        "frac_nll_gt_3": 0.5, "frac_nll_gt_4": pytest.approx(1 / 3), "frac_nll_gt_5": pytest.approx(1 / 6),
        "frac_nll_gt_6": pytest.approx(1 / 6), "frac_nll_gt_7": pytest.approx(1 / 6),
        "frac_nll_gt_8": pytest.approx(1 / 6), "frac_naive": 0.0, "mean_attempts": 0.0,
    }  # fmt: skip
    assert (mixsd["train_accuracy"], mixsd["forgetting_nats"]) == (1.0, None)
    assert mixsd["checkpoints"] == []
    assert (mixsd["targets"]["n"], mixsd["targets"]["discarded"], mixsd["targets"]["tokens"]) == (2, 2, 5)
    assert (mixsd["targets"]["frac_naive"], mixsd["targets"]["mean_attempts"]) == (0.6, 2.0)
    assert mixsd["targets"]["mean_nll"] is None
    assert all(mixsd["targets"][f"frac_nll_gt_{t}"] is None for t in range(3, 9))
    assert (mixsd["heldout"], mixsd["displacement"]) == ({}, {})
    for key in ("train_accuracy", "paraphrase_accuracy", "forgetting_nats", "targets", "heldout", "displacement"):
        assert all(key in row for row in methods.values())


def test_table_and_markdown(run):
    report = build_report(run)
    header, rows = result_table(report)
    assert header == [
        "method", "train", "paraphrase", "two_hop", "forgetting", "targets", "discarded", "target NLL", "> 8 nats",
    ]  # fmt: skip
    dash = "–"
    assert rows == [
        ["base", "25.0 %", "0.0 %", dash, "0.000", dash, dash, dash, dash],
        ["sft", "75.0 %", dash, "20.0 %", "1.200", "2", "0", "3.000", "16.7 %"],
        ["mixsd@0.5", "100.0 %", dash, dash, dash, "2", "2", dash, dash],
    ]
    text = to_markdown(report, [run / "figures" / "tradeoff.png"])
    assert text.startswith("# jsonl on owner/model\n\n| method | train |")
    assert "| sft | 75.0 % | – | 20.0 % | 1.200 | 2 | 0 | 3.000 | 16.7 % |" in text
    assert "(questions: train 4, paraphrase 2, two_hop 5)" in text
    assert "| mixsd@0.5 | 5 | 60.0 % | 2.00 | – |" in text
    assert "| sft | 10 | 50.0 % | – | 0.100 |" in text
    assert "| sft | – | 12.0 |" in text
    assert "![tradeoff](figures/tradeoff.png)" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    for section in text.split("\n\n"):
        widths = {line.count("|") for line in section.splitlines() if line.startswith("|")}
        assert len(widths) <= 1, section


def test_methods_are_ordered(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    names = ["mixsd@0.5", "opsd", "mixsd@0.05", "sft", "mixsd@1", "base", "mixsd@0"]
    for name in names:
        write_jsonl(tmp_path / "evals" / name / "1" / "train.jsonl", responses(1, 1))
    order = list(build_report(tmp_path).methods)
    assert order[:2] == ["base", "sft"]
    assert [n for n in order if n.startswith("mixsd")] == ["mixsd@0", "mixsd@0.05", "mixsd@0.5", "mixsd@1"]
    assert sorted(order) == sorted(names)


def test_a_run_with_nothing_finished_has_an_empty_report(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    report = write_report(tmp_path)
    assert report.methods == {}
    assert json.loads((tmp_path / "report.json").read_text())["methods"] == {}
    assert (tmp_path / "report.md").read_text().startswith("# jsonl on owner/model")


def test_the_same_files_give_the_same_report(run):
    write_report(run)
    first = (run / "report.json").read_bytes(), (run / "report.md").read_bytes()
    write_report(run)
    assert ((run / "report.json").read_bytes(), (run / "report.md").read_bytes()) == first
