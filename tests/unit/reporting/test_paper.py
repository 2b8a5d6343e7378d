"""The paper's numbers: the data file against its own sums, the matching, and what counts as a difference."""

import math

import pytest

from nemo_mixsd.analysis.distribution import wilson
from nemo_mixsd.reporting.collect import Group, RunView
from nemo_mixsd.reporting.paper import compare, paper_corpus, paper_model, paper_tables
from tests.reports import full_view, make_run

TABLES = paper_tables()


def test_means_of_the_tables_are_means():
    checked = 0
    for row in TABLES.rows:
        if "heldout_mean" in row.values and all(b in row.values for b in TABLES.heldout):
            mean = math.fsum(row.values[b] for b in TABLES.heldout) / 5
            assert row.values["heldout_mean"] == pytest.approx(mean, abs=0.0012), row
            checked += 1
    assert checked > 100


def test_base_rows_agree_between_tables():
    seen = {}
    for row in TABLES.rows:
        if row.method == "base":
            for benchmark in TABLES.heldout:
                assert seen.setdefault((row.model, benchmark), row.values[benchmark]) == row.values[benchmark]
    assert len(seen) == 4 * 5


def test_the_file_covers_the_tables():
    assert {row.table for row in TABLES.rows} == {"1", "2", "3", "4", "5", "7", "8", "9", "10", "11", "12"}
    assert {row.model for row in TABLES.rows} == set(TABLES.models)
    assert all(row.rate is None for row in TABLES.rows if row.table in ("2", "3", "4", "5", "7", "8", "9", "11"))
    rates = {row.rate for row in TABLES.rows if row.table == "1" and row.method == "mixsd"}
    assert rates == {0.0, 0.3, 0.5, 0.7}
    assert all(0 <= v <= 1 for row in TABLES.rows for k, v in row.values.items() if k in TABLES.heldout)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Qwen/Qwen3-1.7B", "Qwen3-1.7B"),
        ("/models/Qwen3-1.7B/", "Qwen3-1.7B"),
        ("~/.cache/hub/models--Qwen--Qwen3-8B/snapshots/abc123", "Qwen3-8B"),
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen3-4B-It"),
        ("meta-llama/Llama-3.2-1B-Instruct", "Llama-3.2-1B-It"),
        ("Qwen/Qwen3-4B", None),
        ("Qwen/Qwen3-1.7B-Base", None),
        ("bundled:smollm2-135m-instruct", None),
    ],
)
def test_model_names(name, model):
    assert paper_model(name) == model


@pytest.mark.parametrize(
    ("config", "corpus", "why"),
    [
        ({"name": "kgfact", "size": "small"}, "kgfact-small", ""),
        ({"name": "kgfact", "size": "large", "seed": 4}, "kgfact-large", ""),
        ({"name": "kgfact", "size": "custom", "facts": 100}, None, "custom"),
        ({"name": "kgfunc"}, "kgfunc", ""),
        ({"name": "kgfunc", "train_count": 12}, None, "corpus.train_count is 12, the paper's setting is 1600"),
        ({"name": "simpleqa", "limit": 16}, None, "corpus.limit is 16, the paper's setting is all"),
        ({"name": "mquake", "edits": 100}, "mquake", ""),
        ({"name": "jsonl"}, None, "no corpus 'jsonl'"),
    ],
)
def test_corpora(config, corpus, why):
    found, reason = paper_corpus(config)
    assert found == corpus
    assert why in reason


def run(tmp_path, model="Qwen/Qwen3-1.7B", seed=0, **changes):
    return RunView(make_run(tmp_path / f"run{seed}", seed, model, **changes))


def test_no_number_is_said_plainly(tmp_path):
    said = compare(Group((run(tmp_path, "owner/model"),)))
    assert said.rows == ()
    assert said.reason.startswith("no number of the paper for this model and corpus: it has no results for owner/model")
    shape = {"domains": 2, "entities_per_domain": 5, "facts": 9, "distractors": 1}
    said = compare(Group((run(tmp_path, seed=1, corpus={"name": "kgfact", "size": "custom", **shape}),)))
    assert "corpus.size is custom" in said.reason
    said = compare(Group((run(tmp_path, "meta-llama/Llama-3.2-1B-Instruct", 2, corpus={"name": "kgfunc"}),)))
    assert "did not train Llama-3.2-1B-It on kgfunc" in said.reason


def test_numbers_stand_beside_those_of_the_same_method_and_rate(tmp_path):
    found = compare(Group((run(tmp_path),)))
    rows = {(c.method, c.metric, c.table): c for c in found.rows}
    base = rows["base", "train", "1"]  # 0 of 30 here, 0.0 % there
    assert (base.ours, base.paper, base.verdict) == (0.0, (0.0,), "inside")
    assert (base.low, base.high) == pytest.approx(wilson(0, 30))
    sft = rows["sft", "train", "1"]  # 30 of 30; Wilson reaches down to 88.6 %: 99 % is inside
    assert (sft.ours, sft.paper, sft.verdict) == (1.0, (0.99,), "inside")
    retrieval = rows["sft", "retrieval", "1"]  # 16 of 30 here, 9 % there
    assert (retrieval.paper, retrieval.verdict) == ((0.09,), "outside")
    mixed = rows["mixsd@0.3", "train", "1"]
    assert (mixed.ours, mixed.paper, mixed.verdict) == (0.9, (1.0,), "outside")
    unknown = rows["mixsd@0.3", "frac_nll_gt_8", "8"]
    assert unknown.paper == (0.132, 0.078, 0.057)
    assert unknown.verdict == "not judged"
    assert "λ" in unknown.note
    assert rows["sft", "frac_nll_gt_8", "8"].paper == (0.332,)
    assert ("mixsd@0.1", "train", "1") not in rows, "the paper has no λ=0.1"
    assert not any(c.metric in TABLES.heldout for c in found.rows), "what was not measured was compared"


def test_heldout_numbers_are_compared_with_their_own_intervals(tmp_path):
    view = full_view(make_run(tmp_path / "run", model="Qwen/Qwen3-1.7B"))
    rows = {(c.method, c.metric, c.table): c for c in compare(Group((view,))).rows}
    base = rows["base", "humaneval", "1"]
    assert (base.ours, base.paper, base.verdict) == (0.6, (0.604,), "inside")
    assert rows["base", "gsm8k", "1"].verdict == "outside"
    mean = rows["base", "heldout_mean", "1"]
    assert mean.high - mean.ours == pytest.approx(0.02 / math.sqrt(5))
    assert rows["sft", "alignment", "5"].verdict == "not judged"
    assert rows["sft", "alignment", "5"].paper == (0.9,)


def test_several_seeds_give_the_wider_interval(tmp_path):
    runs = tuple(run(tmp_path, seed=seed) for seed in range(3))
    for view, right in zip(runs, (0.2, 0.5, 0.8)):
        view.report.methods["sft"].splits["retrieval"] = right
    row = next(c for c in compare(Group(runs)).rows if (c.method, c.metric) == ("sft", "retrieval"))
    assert row.ours == pytest.approx(0.5)
    assert row.high - row.ours == pytest.approx(4.303 * 0.3 / math.sqrt(3))
    assert row.verdict == "inside"
