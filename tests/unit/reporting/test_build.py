"""The page and its parts: everything there, everything escaped, nothing invented."""

import json
import re
from html.parser import HTMLParser

import pytest

from nemo_mixsd.errors import RunDirectoryError
from nemo_mixsd.report import write_report
from nemo_mixsd.reporting import tables
from nemo_mixsd.reporting.build import ReportOptions, complete_pieces, extra_markdown, html_report, write_reports
from nemo_mixsd.reporting.collect import Group, RunView, group_runs, open_runs
from nemo_mixsd.reporting.coloured import LONGEST, coloured_targets, line, token
from nemo_mixsd.reporting.html import Html, page, paragraph, table
from tests.reports import WORDS, full_group, make_run
from tests.samples import target

VOID = {"meta", "link", "br"}


class Checker(HTMLParser):
    """Notes every tag that is not closed in order, ids, and addresses."""

    def __init__(self):
        super().__init__()
        self.stack, self.wrong, self.ids, self.links, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.stack.append(tag)
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v for k, v in attrs if k in ("src", "href")]

    def handle_startendtag(self, tag, attrs):
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def check(text):
    found = Checker()
    found.feed(text)
    assert found.wrong == []
    assert found.stack == []
    assert len(set(found.ids)) == len(found.ids), "an id occurs twice"
    for link in found.links:
        assert link == "data:," or link.removeprefix("#") in found.ids, link
    assert "<script" not in text
    assert not re.search(r"url\(|@import|https?://", text)
    return found


def test_one_run(tmp_path):
    group = full_group(tmp_path / "run")
    text = html_report([group], ReportOptions(paper=True, examples=4))
    found = check(text)
    sections = "results paper figures rate targets overlap tokens text checkpoints recipe"
    for identity in f"{sections} pareto heldout cdf sweep errors fisher-raw fisher-alignment".split():
        assert identity in found.ids
    plain = "".join(found.text)
    assert "no number of the paper for this model and corpus" in plain
    assert "Where is tower <3> & co?" in plain
    assert "Where is tower <4> & co?" not in plain
    assert "The first 4 examples of 30; 26 are left out here" in plain
    assert "The rule is ours, not the paper's." in plain
    assert text == html_report([full_group(tmp_path / "again" / "run")], ReportOptions(paper=True, examples=4))


def test_every_target_token_of_the_shown_examples_is_there(tmp_path):
    view = full_group(tmp_path / "run").first
    found = Checker()
    found.feed(coloured_targets(view, 2))
    plain = "".join(found.text)
    shown = "".join(piece.replace("\n", "⏎\n") or "·" for piece in WORDS)
    assert plain.count(shown) == 2 * 4
    last = coloured_targets(view, 30)
    assert last.count("discarded: no attempt gave the answer") == 2 * 3
    assert "left out here" not in last
    underlined = last.count("<u>") - 1  # one in the legend
    assert underlined == sum(sum(t.from_naive) for name in view.names for t in view.targets[name])


@pytest.mark.parametrize(
    ("piece", "nll", "naive", "markup"),
    [
        (" a", 0.99, False, '<i title="0.99"> a</i>'),
        ("<", 1.0, True, '<i class=h1 title="1.00"><u>&lt;</u></i>'),
        ("x", 7.999, False, '<i class=h7 title="8.00">x</i>'),
        ("x", 31.0, False, '<i class=h8 title="31.00">x</i>'),
        ("", 2.5, False, '<i class=h2 title="2.50">·</i>'),
        ("\n", None, False, "<i>⏎\n</i>"),
    ],
)
def test_tokens(piece, nll, naive, markup):
    assert token(piece, nll, naive) == markup


def test_a_long_target_is_cut_and_says_so():
    long = target(0, tokens=(5,) * (LONGEST + 3))
    text = line("sft", long, [1.0] * len(long.token_ids), ["w"] * len(long.token_ids))
    assert text.count("<i") == LONGEST
    assert "and 3 more tokens" in text
    assert "‹5›" in line("sft", target(0, tokens=(5, 1)), [], None)


def test_an_empty_run_has_a_page(tmp_path):
    run = make_run(tmp_path / "run", count=3)
    for name in ("evals", "targets", "analysis", "corpus"):
        for path in sorted((run / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    found = check(html_report([Group((RunView(run),))], ReportOptions(paper=True)))
    assert "figures" not in found.ids
    assert "text" not in found.ids


def test_report_files_of_one_run(tmp_path):
    run = make_run(tmp_path / "run", model="Qwen/Qwen3-1.7B")
    write_report(run)
    record = json.loads((run / "report.json").read_text())
    assert "paper" not in record
    assert record["rate_choice"] is None
    kept = record["methods"]["mixsd@0.3"]["overlap"]
    assert kept["mean"] == 1.0 or 0.5 < kept["mean"] < 1
    assert record["methods"]["sft"]["overlap"] == {}
    first = (run / "report.html").read_bytes()
    check(first.decode())
    write_report(run, ReportOptions(paper=True))
    record = json.loads((run / "report.json").read_text())
    assert record["paper"]["model"] == "Qwen3-1.7B"
    verdicts = {(row["method"], row["metric"]): row["verdict"] for row in record["paper"]["rows"]}
    assert verdicts["sft", "retrieval"] == "outside"
    text = (run / "report.md").read_text()
    assert "## Beside the paper" in text
    assert "| sft | retrieval | 53.3 % | 9.0 % | **outside** | 36.1 % to 69.8 % | 1 |" in text
    assert "≠ outside" in (run / "report.html").read_text()
    write_report(run)
    assert (run / "report.html").read_bytes() == first
    for line_ in (run / "report.md").read_text().splitlines():
        if line_.startswith("|"):
            assert line_.endswith("|")


def test_report_files_of_several_runs(tmp_path):
    paths = [make_run(tmp_path / f"s{seed}", seed, count=10, forgetting=seed) for seed in range(3)]
    paths.append(make_run(tmp_path / "large", corpus={"name": "kgfact", "size": "large"}, count=4))
    out = tmp_path / "out"
    write_reports(paths, out, ReportOptions(paper=True, examples=1))
    record = json.loads((out / "report.json").read_text())
    assert [run["run"] for run in record["runs"]] == ["s0", "s1", "s2", "large"]
    assert [group["runs"] for group in record["groups"]] == [["s0", "s1", "s2"], ["large"]]
    found = record["groups"][0]["methods"]["sft"]["forgetting_nats"]
    assert (found["mean"], found["sd"], found["n"]) == (pytest.approx(1.5), pytest.approx(0.1), 3)
    assert "no number of the paper" in record["groups"][0]["paper"]["reason"]
    check((out / "report.html").read_text())
    text = (out / "report.md").read_text()
    assert text.startswith("# 4 runs\n\n## kgfact on owner/model\n")
    assert "| sft | mean of 3 | 100.0 ± 0.0 % |" in text
    assert "1.500 ± 0.100" in text
    with pytest.raises(RunDirectoryError, match="its own report would be lost"):
        write_reports(paths, paths[0], ReportOptions())
    assert not (paths[0] / "report.html").exists()


def test_tables_of_several_runs_have_every_run_and_a_mean(tmp_path):
    runs = open_runs([make_run(tmp_path / f"s{seed}", seed, count=8) for seed in range(2)])
    found = tables.results(group_runs(runs)[0])
    assert [row[:2] for row in found.rows[:3]] == [["base", "mean of 2"], ["base", "s0"], ["base", "s1"]]
    assert found.marks[:3] == ("sum", "", "")
    assert all(len(row) == len(found.header) for row in found.rows)
    counted = tables.targets(runs[0])
    name, high = counted.rows[0][0], counted.rows[0][-1]
    flat = [v for r in runs[0].nll[name] for v in r.nll]
    above = sum(v > 8 for v in flat)
    assert high == f"{above} ({100 * above / len(flat):.1f} %)"


def test_cells_are_escaped_once():
    text = (
        table(
            ["<h>"],
            [
                [
                    "a & b",
                ]
            ],
            (),
            1,
        )
        + paragraph(Html("<b>x</b>"))
        + paragraph("<i>")
    )
    assert "&lt;h&gt;" in text
    assert "a &amp; b" in text
    assert "<b>x</b>" in text
    assert "&lt;i&gt;" in text
    check(page("<t>", [], text))
    assert tables.markdown(tables.Table(["a|b"], [["x\ny"]])) == ["| a\\|b |", "|---|", "| x y |"]


def test_markdown_has_the_choice_of_the_rate(tmp_path):
    text = extra_markdown(full_group(tmp_path / "run"), ReportOptions())
    assert "## Why this mixing rate" in text
    assert "| 0.1 | 100.0 % | 1.00 | 0 of 20 | 30.0 % | 2.000 |" in text
    assert "## Beside the paper" not in text


def test_token_texts_of_an_older_run_are_added_where_the_tokenizer_is_at_hand(tmp_path, caplog):
    from tests.tiny import make_model, make_tokenizer

    make_tokenizer().save_pretrained(tmp_path / "model")
    make_model().config.save_pretrained(tmp_path / "model")
    for i, (model, there) in enumerate([(str(tmp_path / "model"), True), (str(tmp_path / "gone"), False)]):
        run = make_run(tmp_path / f"run{i}", model=model, count=4)
        for path in (run / "analysis" / "token_text").iterdir():
            path.unlink()
        view = RunView(run)
        complete_pieces(view)
        assert bool(view.pieces["sft"]) == there
        text = coloured_targets(view, 1)
        assert ("‹31›" in text) != there
        assert ("were not kept" in text) != there
        if there:
            assert "".join(view.pieces["sft"]["e0"]).split()[:2] == ["sky", "sea"] or view.pieces["sft"]["e0"][0]
