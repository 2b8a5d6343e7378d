"""Each benchmark on small records in its public schema: what is asked, what is right, what is refused."""

import gzip
import json

import pytest

from nemo_mixsd.errors import BenchmarkError, ConfigError
from nemo_mixsd.evals.benchmarks import BENCHMARKS
from nemo_mixsd.evals.benchmarks.base import choose
from nemo_mixsd.evals.benchmarks.humaneval import program
from nemo_mixsd.evals.benchmarks.rows import ENDINGS

ROWS = {
    "aime2024": {"id": 60, "problem": "How many $n$ are there?", "answer": "025"},
    "math500": {
        "problem": "Halve one.", "answer": "\\frac{1}{2}", "subject": "Prealgebra", "level": 1,
        "unique_id": "test/prealgebra/1.json",
    },
    "gsm8k": {"question": "Ann has 3 pens and buys 1,199. How many?", "answer": "3+1199=1202\n#### 1,202"},
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": "import math\n\n\ndef helper(x):\n    return x + 1\n\n"
        'def twice(x: int) -> int:\n    """Twice x."""\n',
        "entry_point": "twice",
        "canonical_solution": "    return 2 * x\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    },
    "mmlu": {"question": "Which is blue?", "subject": "world_colours", "choices": ["grass", "sky", "soot", "snow"],
             "answer": 1},
    "ifeval": {
        "key": 1000, "prompt": "Write two words, no commas.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"num_words": 3, "relation": "less than", "keywords": None}],
    },
}  # fmt: skip
RIGHT = {
    "aime2024": [r"\boxed{25}", r"\boxed{025}", "The answer is 25."],
    "math500": [r"\boxed{0.5}", r"thus $\boxed{\dfrac12}$", "#### 1/2"],
    "gsm8k": ["#### 1202", r"\boxed{1,202 \text{ pens}}", "in the end 1202", r"\boxed{2404/2}", r"\boxed{1202.00}"],
    "mmlu": [r"\boxed{B}", "The answer is (B).", r"\boxed{\text{sky}}", r"\boxed{B. sky}"],
    "ifeval": ["two words", "one"],
}
WRONG = {
    "aime2024": [(r"\boxed{26}", "26", "26 is not 25"), ("no idea", None, "no answer: neither a box nor a stated one")],
    "math500": [(r"\boxed{2}", "2", r"2 is not \frac{1}{2}")],
    "gsm8k": [
        ("#### 1203", "1203", "1203 is not 1202"),
        (r"\boxed{1/1202}", "1/1202", "1/1202 is not 1202"),
        ("nothing", None, "no number in the response"),
        (r"\boxed{many}, 1202", "many", "no number in the answer"),
    ],
    "mmlu": [
        (r"\boxed{A}", "A", "A is not B"),
        (r"\boxed{blue}", "blue", "blue is no choice"),
        ("It is the sky", None, "no letter"),
    ],
    "ifeval": [
        ("one, two", "1 of 2 followed", "not followed: punctuation:no_comma"),
        ("a b c, d", "0 of 2 followed", "not followed: punctuation:no_comma, length_constraints:number_words"),
        ("", "0 of 2 followed", "not followed: punctuation:no_comma, length_constraints:number_words"),
    ],
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def only(name, path, run_program=None):
    benchmark = BENCHMARKS[name](run_program)
    (problem,) = benchmark.load(write(path / f"{name}.jsonl", ROWS[name]))
    return benchmark, problem


@pytest.mark.parametrize("name", RIGHT)
def test_right_and_wrong_responses(name, tmp_path):
    benchmark, problem = only(name, tmp_path)
    for response in RIGHT[name]:
        verdict = benchmark.score(problem, response)
        assert verdict.correct, (response, verdict)
    for response, extracted, detail in WRONG[name]:
        verdict = benchmark.score(problem, response)
        assert (verdict.correct, verdict.extracted, verdict.detail) == (False, extracted, detail)


@pytest.mark.parametrize(
    ("name", "gold", "subject", "asks"),
    [
        ("aime2024", ("25",), "", ["How many $n$ are there?", r"\boxed{}"]),
        ("math500", (r"\frac{1}{2}",), "Prealgebra", ["Halve one.", r"\boxed{}"]),
        ("gsm8k", ("1202",), "", ["Ann has 3 pens", r"\boxed{}"]),
        ("humaneval", (), "", ["def twice(x: int)", "fenced Python code block"]),
        ("mmlu", ("B",), "world_colours", ["about world colours", "B. sky", r"\boxed{D}"]),
        ("ifeval", (), "punctuation:no_comma, length_constraints:number_words", ["Write two words, no commas."]),
    ],
)
def test_problems(name, gold, subject, asks, tmp_path):
    _, problem = only(name, tmp_path)
    assert problem.gold == gold
    assert problem.subject == subject
    assert all(text in problem.prompt for text in asks)
    json.dumps(problem.meta)


class Outcome:
    def __init__(self, passed, reason=""):
        self.passed, self.reason = passed, reason


def test_humaneval_builds_a_program_and_believes_the_sandbox(tmp_path):
    seen = []

    def run(source):
        seen.append(source)
        scope = {}
        try:
            exec(source, scope)
        except Exception as error:
            return Outcome(False, f"{type(error).__name__}: {error}")
        return Outcome(True)

    benchmark, problem = only("humaneval", tmp_path, run)
    good = benchmark.score(problem, "Here:\n```python\ndef twice(x):\n    return helper(x) + x - 1\n```")
    assert good.correct and "helper(x) + x" in good.extracted
    body = benchmark.score(problem, "```python\n    return 2 * x\n```")
    assert body.correct
    bad = benchmark.score(problem, "```python\ndef twice(x):\n    return x\n```")
    assert (bad.correct, bad.detail) == (False, "AssertionError: ")
    assert benchmark.score(problem, "def twice(x): return 2 * x").detail == "no fenced code block"
    assert len(seen) == 3 and all(source.endswith("check(twice)\n") for source in seen)
    assert program(problem, ROWS["humaneval"]["canonical_solution"]).count("def twice") == 1


def test_humaneval_without_a_sandbox_is_an_error_not_a_zero(tmp_path):
    benchmark, problem = only("humaneval", tmp_path)
    with pytest.raises(ConfigError, match="needs the sandbox"):
        benchmark.score(problem, "```python\nx\n```")


@pytest.mark.parametrize("ending", ENDINGS)
def test_file_kinds(ending, tmp_path):
    file = tmp_path / f"gsm8k{ending}"
    line = json.dumps(ROWS["gsm8k"])
    if ending == ".jsonl":
        file.write_text(line + "\n\n" + line + "\n")
    elif ending == ".jsonl.gz":
        file.write_bytes(gzip.compress(f"{line}\n{line}\n".encode()))
    elif ending == ".json":
        file.write_text(f"[{line}, {line}]")
    elif ending == ".csv":
        file.write_text('question,answer\n"Ann has 3 pens and buys 1,199. How many?","a\n#### 1202"\nB?,"#### 2"\n')
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist([ROWS["gsm8k"]] * 2), file)
    for path in (file, tmp_path):
        problems = BENCHMARKS["gsm8k"]().load(path)
        assert len(problems) == 2
        assert problems[0].gold == ("1202",)


def test_the_release_of_mmlu_is_read_as_it_is(tmp_path):
    (tmp_path / "anatomy_test.csv").write_text('"Which, now?",a,b,c,d,C\nOther?,1,2,3,4,A\n')
    (tmp_path / "virology_test.csv").write_text("Third?,w,x,y,z,D\n")
    problems = BENCHMARKS["mmlu"]().load(tmp_path)
    assert [(p.id, p.subject, p.gold[0]) for p in problems] == [
        ("mmlu-1", "anatomy", "C"), ("mmlu-2", "anatomy", "A"), ("mmlu-3", "virology", "D"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("aime2024", {"answer": "1000"}, r"aime2024.jsonl:1: 'answer' is '1000', no integer from 0 to 999"),
        ("aime2024", {"problem": None}, r"aime2024.jsonl:1: 'problem' is None, a NoneType"),
        ("gsm8k", {"answer": "12"}, r"gsm8k.jsonl:1: 'answer' does not end in '#### ' and a number"),
        ("mmlu", {"answer": 4}, r"mmlu.jsonl:1: 'answer' is 4; it must be 0 to 3, or A to D"),
        ("mmlu", {"choices": ["a", "b"]}, r"mmlu.jsonl:1: 'choices' must be four texts"),
        ("humaneval", {"entry_point": "thrice"}, r"does not define the function 'thrice'"),
        ("ifeval", {"kwargs": [{}]}, r"2 in 'instruction_id_list' and 1 in 'kwargs'"),
        ("ifeval", {"instruction_id_list": ["a", "b"]}, r"no instruction 'a' is known; there is keywords:existence"),
    ],
)
def test_records_that_are_refused(name, change, message, tmp_path):
    path = write(tmp_path / f"{name}.jsonl", {**ROWS[name], **change})
    with pytest.raises(BenchmarkError, match=message):
        BENCHMARKS[name]().load(path)


def test_missing_fields_and_files_are_named(tmp_path):
    with pytest.raises(BenchmarkError, match=r"no field 'question'; it has answer"):
        BENCHMARKS["gsm8k"]().load(write(tmp_path / "a.jsonl", {"answer": "#### 1"}))
    with pytest.raises(BenchmarkError, match=r"b.jsonl:2: not JSON"):
        (tmp_path / "b.jsonl").write_text(json.dumps(ROWS["gsm8k"]) + "\n{\n")
        BENCHMARKS["gsm8k"]().load(tmp_path / "b.jsonl")
    with pytest.raises(BenchmarkError, match=r"is no JSON object"):
        (tmp_path / "b.jsonl").write_text("[1]\n")
        BENCHMARKS["gsm8k"]().load(tmp_path / "b.jsonl")
    with pytest.raises(
        BenchmarkError, match=r"has no file of it; looked for gsm8k, gsm8k_test .* evals.benchmark.gsm8k"
    ):
        BENCHMARKS["gsm8k"]().load(tmp_path)
    with pytest.raises(BenchmarkError, match=r"nowhere is not there"):
        BENCHMARKS["gsm8k"]().load(tmp_path / "nowhere")
    with pytest.raises(BenchmarkError, match=r"has no problems"):
        BENCHMARKS["gsm8k"]().load(write(tmp_path / "c.jsonl"))
    with pytest.raises(BenchmarkError, match=r"the id 'math500-x' occurs twice"):
        row = {**ROWS["math500"], "unique_id": "x"}
        BENCHMARKS["math500"]().load(write(tmp_path / "d.jsonl", row, row))


def test_the_hub_out_of_reach_says_what_to_do(monkeypatch):
    import datasets

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(BenchmarkError, match=r"openai/gsm8k \(main\), split test .* evals.benchmark.gsm8k.path"):
        BENCHMARKS["gsm8k"]().load()


def test_the_hub_is_read_under_its_published_names(monkeypatch):
    import datasets

    asked = []

    def load(name, subset, split):
        asked.append((name, subset, split))
        return datasets.Dataset.from_list([ROWS[next(n for n, c in BENCHMARKS.items() if c.hub.dataset == name)]])

    monkeypatch.setattr(datasets, "load_dataset", load)
    for cls in BENCHMARKS.values():
        assert len(cls().load()) == 1
    assert asked == [
        ("HuggingFaceH4/aime_2024", None, "train"),
        ("HuggingFaceH4/MATH-500", None, "test"),
        ("openai/gsm8k", "main", "test"),
        ("openai/openai_humaneval", None, "test"),
        ("cais/mmlu", "all", "test"),
        ("google/IFEval", None, "train"),
    ]


def test_subsets_are_by_seed_in_order_and_nested():
    items = list(range(100))
    ten, twenty = choose(items, 10, ("x", 0)), choose(items, 20, ("x", 0))
    assert ten == sorted(ten) and len(set(ten)) == 10
    assert set(ten) < set(twenty)
    assert choose(items, 10, ("x", 1)) != ten != choose(items, 10, ("y", 0))
    assert choose(items, None, ("x", 0)) == items == choose(items, 100, ("x", 0))
