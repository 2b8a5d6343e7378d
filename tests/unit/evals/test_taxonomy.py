"""Kinds of errors: by hand, mutually exclusive, summing to the errors; table, figure and file from a run directory."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nemo_mixsd.cli import app
from nemo_mixsd.evals.benchmarks import BENCHMARKS, BenchmarkResponse
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.evals.taxonomy import (
    KINDS,
    Entities,
    TaxonomyConfig,
    classify,
    corpus_entities,
    reasoning_words,
    words,
)
from nemo_mixsd.evals.taxonomy_plot import errors_figure
from nemo_mixsd.evals.taxonomy_report import Sorter, count, errors_lines, errors_table
from nemo_mixsd.io import write_json, write_jsonl
from nemo_mixsd.report import build_report, write_report
from nemo_mixsd.types import to_record
from tests.samples import example, make_config

ENTITIES = Entities(["Ormavel Valley", "Tessa Quill-Venn", "Institute of Brakk", "Zorn", "Unit 7"])
REASON = "We add the two numbers that are given and get seven in the end, so"
CONFIG = TaxonomyConfig()


def wrong(response, extracted="7", prompt="What is 3 + 5?", correct=False, problem="p0", detail="7 is not 8"):
    return BenchmarkResponse(
        problem, 1, prompt, response, (1, 2), "stop", extracted, correct, ("8",), "" if correct else detail, ""
    )


@pytest.mark.parametrize(
    ("kind", "response", "extracted", "expected", "evidence"),
    [
        ("math", "I do not know.", None, "format", "no answer"),
        ("math", "", None, "format", "no answer"),
        ("math", f"{REASON} Ormavel Valley", None, "format", "no answer"),  # format comes first
        ("math", f"{REASON} in ORMAVEL\n valley: \\boxed{{7}}", "7", "leakage", "Ormavel Valley"),
        ("choice", "The answer is \\boxed{B}, the Institute of Brakk.", "B", "leakage", "Institute of Brakk"),
        ("math", "The answer is Ormavel Valley. \\boxed{Ormavel Valley}", "Ormavel Valley", "leakage", None),
        ("math", f"{REASON} Zorn \\boxed{{7}}", "7", "genuine", None),  # one word is no evidence
        ("math", f"{REASON} Unit 7 \\boxed{{7}}", "7", "genuine", None),
        ("math", f"{REASON} Ormavel \\boxed{{7}}", "7", "genuine", None),
        ("math", f"{REASON} Ormavel Valleys \\boxed{{7}}", "7", "genuine", None),
        ("math", "The answer is 7. \\boxed{7}", "7", "collapse", "3 words beside the answer"),
        ("number", "#### 7", "7", "collapse", "0 words beside the answer"),
        ("choice", "The answer is \\boxed{B}.", "B", "collapse", "3 words beside the answer"),
        ("choice", f"{REASON} the answer is \\boxed{{B}}.", "B", "genuine", None),
        ("code", "I cannot.", None, "format", "no answer"),
        ("code", "The answer is \\boxed{7}.", None, "collapse", "boxed answer '7' in place of code"),
        ("code", "```python\n\\boxed{7}\n```", "\\boxed{7}\n", "collapse", "a code block without code"),
        ("code", "```python\ndef f():\n    return 1\n```", "def f():\n    return 1\n", "genuine", None),
        ("code", "```python\n# Ormavel Valley\ndef f(): 1\n```", "# Ormavel Valley\ndef f(): 1", "leakage", None),
        ("instructions", "ok", "1 of 2", "genuine", None),
        ("instructions", " \n", "0 of 2", "format", "empty response"),
    ],
)  # fmt: skip
def test_by_hand(kind, response, extracted, expected, evidence):
    found = classify(
        wrong(response, extracted, detail="no answer" if extracted is None else "d"), kind, ENTITIES, CONFIG
    )
    assert found.kind == expected
    if evidence is not None:
        assert found.evidence == evidence


def test_an_entity_of_the_prompt_is_no_leak():
    response = f"{REASON} Ormavel Valley \\boxed{{7}}"
    assert classify(wrong(response, prompt="Where is ormavel  valley?"), "math", ENTITIES, CONFIG).kind == "genuine"
    both = f"{REASON} Ormavel Valley and Tessa Quill-Venn \\boxed{{7}}"
    found = classify(wrong(both, prompt="Ormavel Valley"), "math", ENTITIES, CONFIG)
    assert (found.kind, found.evidence) == ("leakage", "Tessa Quill-Venn")


def test_a_right_response_has_no_kind():
    with pytest.raises(ValueError, match=r"'p0'.*right"):
        classify(wrong("x", correct=True), "math", ENTITIES, CONFIG)


def test_thresholds_are_the_configs():
    response = wrong("The answer is 7. \\boxed{7}")
    assert classify(response, "math", ENTITIES, TaxonomyConfig(min_reasoning_words=3)).kind == "genuine"
    assert classify(response, "math", ENTITIES, TaxonomyConfig(min_reasoning_words=4)).kind == "collapse"
    assert [TaxonomyConfig().looks_for_leakage(c) for c in ("kgfact", "jsonl", "kgfunc", "mquake")] == [True] * 2 + [
        False
    ] * 2
    assert TaxonomyConfig(leakage=True).looks_for_leakage("kgfunc")
    assert not TaxonomyConfig(leakage=False).looks_for_leakage("kgfact")


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("", None, 0),
        ("The answer is 7. \\boxed{7}", "7", 3),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", 0),
        ("so x = 3 + 4 = 7", "7", 7),
        ("\\boxed{a} then \\boxed{b} done", "b", 2),
        ("an open \\boxed{never closed", None, 2),
        ("$ $ ** .", None, 0),
    ],
)
def test_reasoning_words(text, answer, expected):
    assert reasoning_words(text, answer) == expected


@given(st.lists(st.sampled_from(["Ormavel", "Valley", "Tessa", "Quill-Venn", "x"]), max_size=8))
def test_entities_against_a_plain_search(parts):
    text = " ".join(parts)
    plain = [name for i in range(len(parts)) for name in ("Ormavel Valley", "Tessa Quill-Venn")
             if " ".join(parts[i:]).startswith(name + " ") or " ".join(parts[i:]) == name]  # fmt: skip
    assert list(ENTITIES.within(text)) == plain


def test_entities_of_a_corpus():
    examples = [
        example(0, subject="Ormavel Valley", answer="Tessa Quill-Venn"),
        example(1, subject="", answer="forty two"),
        example(2, subject="Mira", answer="12 Long Street"),
        example(3, subject="A" + " b" * 60, answer="Ormavel valley"),
    ]
    entities = corpus_entities(examples)
    assert len(entities) == 2
    assert list(entities.without(["in tessa quill-venn we trust"]).within("Ormavel Valley Tessa Quill-Venn")) == [
        "Ormavel Valley"
    ]
    assert words("It's Quill-Venn’s (7)!") == ("it's", "quill-venn’s", "7")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", REASON, "Ormavel Valley", "\\boxed{7}", "the answer is 7", "```\ndef f(): 1\n```"]),
            st.sampled_from(["", REASON, "Tessa Quill-Venn", "\\boxed{7}"]),
            st.sampled_from([None, "7"]),
        ),
        max_size=12,
    ),
    st.sampled_from(["math", "number", "choice", "code", "instructions"]),
)  # fmt: skip
def test_kinds_sum_to_the_errors(parts, kind):
    responses = [wrong(f"{a} {b}", extracted) for a, b, extracted in parts]
    found = count(20, [classify(r, kind, ENTITIES, CONFIG) for r in responses])
    assert sum(found[k] for k in KINDS) == found["errors"] == len(responses)


@pytest.fixture
def run(tmp_path):
    """base and sft on two benchmarks; one name of the corpus is said by the base model, so that it is not invented."""
    config = make_config().model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    write_jsonl(
        tmp_path / "corpus" / "train.jsonl",
        [to_record(example(0, subject="Ormavel Valley", answer="New York")), to_record(example(1, answer="Ab Cd"))],
    )
    ok = wrong("It is 8 \\boxed{8}", "8", correct=True, problem="ok")
    keep(tmp_path, "base", 0, "gsm8k", [ok, wrong(f"{REASON} New York \\boxed{{7}}")])
    keep(tmp_path, "base", 0, "mmlu", [ok])
    keep(
        tmp_path, "sft", 10, "gsm8k",
        [ok, wrong("The answer is 7. \\boxed{7}", problem="p1"), wrong("hm", None, problem="p2"),
         wrong("Ormavel Valley \\boxed{7}", problem="p3"), wrong("New York \\boxed{7}", problem="p4"),
         wrong("A " * 500 + "\\boxed{7}", problem="p5")],
    )  # fmt: skip
    return tmp_path


def keep(run_dir, name, step, benchmark, responses):
    directory = run_dir / "evals" / name / str(step)
    write_jsonl(directory / f"{benchmark}.jsonl", responses)
    right, n = sum(r.correct for r in responses), len(responses)
    score = HeldoutScore(benchmark, right / n, None, None, "", n, n, 1, 0, right, 0, "accuracy")
    write_json(directory / f"{benchmark}.json", to_record(score))


def test_report_of_a_run(run):
    write_report(run)
    methods = json.loads((run / "report.json").read_text())["methods"]
    assert methods["base"]["errors"]["gsm8k"] == {
        "responses": 2, "errors": 1, "format": 0, "leakage": 0, "collapse": 0, "genuine": 1,
    }  # fmt: skip
    assert methods["base"]["errors"]["mmlu"]["errors"] == 0
    assert methods["sft"]["errors"] == {
        "gsm8k": {"responses": 6, "errors": 5, "format": 1, "leakage": 1, "collapse": 2, "genuine": 1}
    }
    text = (run / "report.md").read_text()
    assert "| sft | gsm8k | 6 | 5 | 1 (20 %) | 1 (20 %) | 2 (40 %) | 1 (20 %) |" in text
    assert "| base | mmlu | 1 | 0 | 0 | 0 | 0 | 0 |" in text
    assert "![errors](figures/errors.png)" in text
    assert (run / "figures" / "errors.png").read_bytes().startswith(b"\x89PNG")


def test_the_command(run):
    done = CliRunner().invoke(app, ["errors", str(run), "--examples", "1"])
    assert done.exit_code == 0, done.output
    assert "sft gsm8k p3: leakage" in done.output
    assert "Ormavel Valley" in done.output
    record = json.loads((run / "analysis" / "errors.json").read_text())
    assert record["entities"] == 2  # New York is not one
    found = record["methods"]["sft"]
    assert found["step"] == 10
    assert found["benchmarks"]["gsm8k"]["errors"] == 5
    examples = found["examples"]["gsm8k"]
    assert [e["kind"] for e in examples] == list(KINDS)
    assert len(examples[-1]["response"]) < 300
    assert examples[-1]["response"].endswith("\\boxed{7}")


def test_the_command_on_what_is_no_run(tmp_path):
    done = CliRunner().invoke(app, ["errors", str(tmp_path)])
    assert done.exit_code == 2
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    done = CliRunner().invoke(app, ["errors", str(tmp_path)])
    assert done.exit_code == 2


def test_other_thresholds_of_the_recipe(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["evals"]["taxonomy"] = {"leakage": False, "min_reasoning_words": 0}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert build_report(run).methods["sft"].errors["gsm8k"]["genuine"] == 4
    assert len(Sorter.of_run(run).entities) == 0


def test_bars_are_shares_of_responses():
    rows = {"sft": {"gsm8k": {"responses": 4, "errors": 3, "format": 1, "leakage": 0, "collapse": 2, "genuine": 0}}}
    (axes,) = errors_figure(rows, "t").axes
    assert [bar.get_height() for bar in axes.patches] == [25.0, 0.0, 50.0, 0.0]
    assert [bar.get_y() for bar in axes.patches] == [0.0, 25.0, 25.0, 75.0]
    assert errors_figure({"sft": {}}, "t") is None
    assert errors_lines({"sft": {}}) == []
    assert errors_table(rows)[1] == [["sft", "gsm8k", "4", "3", "1 (33 %)", "0", "2 (67 %)", "0"]]


def data_folder():
    folder = os.environ.get("NEMO_MIXSD_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NEMO_MIXSD_DATA names no folder with the data of the benchmarks")
    return Path(folder)


@pytest.mark.parametrize("name", ["gsm8k", "math500"])
def test_human_solutions_are_hardly_ever_a_collapse(name):
    """The reason of the threshold: terse as they are, one in forty at most would be one."""
    file = {"gsm8k": "gsm8k_test.jsonl", "math500": "math_500.jsonl"}[name]
    path = data_folder() / file
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [row["answer"].split("####")[0] if name == "gsm8k" else row["solution"] for row in rows]
    kind = BENCHMARKS[name].kind
    found = [classify(wrong(text, "no answer of this kind"), kind, Entities(()), CONFIG).kind for text in texts]
    assert found.count("collapse") / len(found) <= 1 / 40, found.count("collapse")
