"""The plan: everything that can be refused before a model is loaded."""

import json
import sys

import pytest

from nemo_mixsd import plan as module
from nemo_mixsd.errors import BackendError, ConfigError, CorpusError, ModelNotFoundError, RunDirectoryError
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.plan import MethodSpec, check_answer, choose_backend, choose_engine, make_plan, method_specs
from nemo_mixsd.types import Method
from tests.samples import example, make_config

FACTS = [
    {"id": "a", "question": "q1 ?", "answer": "blue", "paraphrases": ["q1b ?", "q1c ?"]},
    {"id": "b", "question": "q2 ?", "answer": "green"},
    {"id": "c", "question": "q3 ?", "answer": "red", "split": "extra"},
]


@pytest.fixture
def config(tmp_path, tiny_model_dir):
    def config(facts=FACTS, **changes):
        path = tmp_path / "facts.jsonl"
        path.write_text("".join(json.dumps(f) + "\n" for f in facts))
        settings = {
            "run_dir": str(tmp_path / "run"),
            "corpus": {"name": "jsonl", "path": str(path)},
            "policy__model_name": str(tiny_model_dir),
            **changes,
        }
        return make_config(**settings)

    return config


def test_the_plan_counts_and_names_everything(config, tmp_path, tiny_model_dir):
    plan = make_plan(
        config(
            mixing__rate=[0, 0.3], evals__limit=1, evals__forgetting__limit=5, evals__forgetting__samples_per_prompt=2
        )
    )
    assert {s: [e.answer for e in items] for s, items in plan.examples.items()} == {
        "train": ["blue", "green"],
        "paraphrase": ["blue", "blue"],
        "extra": ["red"],
    }
    assert plan.eval_splits() == {"train": 1, "paraphrase": 1, "extra": 1}
    lines = dict(plan.lines())
    assert str(tiny_model_dir) in lines["model"]
    assert lines["corpus"] == "jsonl: train 2, paraphrase 2, extra 1"
    assert lines["verifier"] == "contains"
    assert lines["reference"].startswith("10 samples")
    assert lines["sft"].startswith("2 canonical targets, 2 steps of 16")
    assert lines["mixsd@0"].startswith("2 mixed at λ=0 targets")
    assert lines["mixsd@0.3"].startswith("2 mixed at λ=0.3 targets")
    assert lines["engine"].startswith("hf: ")
    assert lines["backend"].startswith("local: ")
    assert str(tmp_path / "run") in lines["output"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "rate", "names"),
    [
        (["sft", "mixsd"], 0.3, ["sft", "mixsd@0.3"]),
        (["mixsd", "sft"], [0, 0.3, 1], ["mixsd@0", "mixsd@0.3", "mixsd@1", "sft"]),
        ("mixsd", [0.5, 0.5, 0.25], ["mixsd@0.5", "mixsd@0.25"]),
        ("base", 0.3, []),
        (["base", "sft"], 0.3, ["sft"]),
    ],
)
def test_method_specs(method, rate, names):
    specs = method_specs(make_config(method=method, mixing__rate=rate))
    assert [s.name for s in specs] == names
    assert all((s.rate is None) == (s.method == Method.SFT) for s in specs)
    if names == ["sft", "mixsd@0.3"]:
        assert specs == (MethodSpec("sft", Method.SFT), MethodSpec("mixsd@0.3", Method.MIXSD, 0.3))


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        (
            "contains",
            {"answer": "...", "target": "..."},
            r"'e0': the verifier 'contains' rejects the answer '\.\.\.' itself",
        ),
        ("number", {}, "the verifier 'number' rejects the answer 'blue' itself; change the answer, or choose another"),
        ("boxed", {"answer": "a}b", "target": "a}b"}, "the verifier 'boxed' rejects the answer 'a}b' itself"),
        ("contains", {"target": "it is red"}, r"rejects its target \('blue' does not stand in the text\)"),
        ("exact", {"target": "it is blue"}, r"rejects its target \(the text is not just 'blue'\)"),
        ("boxed", {"target": "it is blue"}, r"rejects its target \(no boxed answer\)"),
    ],
)
def test_an_answer_that_its_own_verifier_rejects(name, changes, text):
    with pytest.raises(CorpusError, match=text):
        check_answer(example(**changes), make_verifier(name))


def test_answers_that_pass():
    check_answer(example(target="it is blue ."), make_verifier("contains"))
    check_answer(example(), make_verifier("boxed"))  # the target is the bare answer: no text of anyone's own
    check_answer(example(target="it is sky", aliases=("sky",)), make_verifier("contains"))
    check_answer(example(target="it is red", split="paraphrase"), make_verifier("contains"))  # not trained on


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"evals__splits": ["train", "nope"]}, ConfigError, "evals.splits: .*'nope'; it has train, paraphrase, extra"),
        ({"policy__model_name": "/no/model"}, ModelNotFoundError, "no directory '/no/model'"),
        ({"mixing__verifier": "number"}, CorpusError, "rejects the answer 'blue' itself"),
        ({"evals__forgetting__prompts": "/no/file"}, ConfigError, "evals.forgetting.prompts: cannot read /no/file"),
        ({"prompts__expert_template": "{question}"}, ValueError, "expert_template shows neither"),
        ({"policy__train_global_batch_size": 5}, ConfigError, "is not a multiple of"),
        ({"corpus": {"name": "jsonl", "path": "/no/facts.jsonl"}}, CorpusError, "/no/facts.jsonl"),
        ({"facts": [FACTS[2]]}, CorpusError, "train"),
    ],
)
def test_refused_before_a_model_is_loaded(config, monkeypatch, changes, error, text):
    import transformers

    def loaded(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", loaded)
    with pytest.raises(error, match=text):
        make_plan(config(**changes))


def test_a_foreign_run_directory_is_refused_first(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    with pytest.raises(RunDirectoryError, match="holds no run"):
        make_plan(config(policy__model_name="/no/model"))


def test_ids_are_unique_over_splits(config):
    class Twice:
        config = type("C", (), {"name": "twice"})
        splits = {"train": [example(1)], "other": [example(1, split="other")]}

        def split_names(self):
            return tuple(self.splits)

        def load_split(self, split):
            return self.splits[split]

    with pytest.raises(CorpusError, match="id 'e1' occurs in train and in other"):
        module.read_examples(Twice(), make_verifier("contains"))
    Twice.splits = {"train": [], "other": [example(1)]}
    with pytest.raises(CorpusError, match="corpus 'twice' has no training examples"):
        module.read_examples(Twice(), make_verifier("contains"))


def test_the_measure_of_forgetting_can_be_left_out(config):
    plan = make_plan(config(evals__forgetting__enabled=False, evals__splits=["train"]))
    assert plan.general_prompts == ()
    assert "reference" not in dict(plan.lines())
    assert dict(plan.lines())["base"] == "evaluate on train 2"


LOCAL, HOST = module.Choice("local", ""), module.Choice("nemo_rl", "")


@pytest.fixture
def machine(monkeypatch):
    """Pretends what is installed: ``machine(gpu, vllm, host)``."""
    from nemo_mixsd.nemo import compat

    def machine(gpu, vllm, host):
        def find_host():
            if not host:
                raise BackendError("NeMo-RL is not installed here")
            return "NeMo-RL 0.7"

        monkeypatch.setattr(module.models, "default_device", lambda: "cuda" if gpu else "cpu")
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object() if vllm else None)
        monkeypatch.setattr(compat, "find_host", find_host)

    return machine


@pytest.mark.parametrize(
    ("asked", "gpu", "vllm", "chosen"),
    [
        ("auto", False, False, "hf"),
        ("auto", False, True, "hf"),
        ("auto", True, False, "hf"),
        ("auto", True, True, "vllm"),
        ("hf", True, True, "hf"),
        ("vllm", False, True, "vllm"),
    ],
)
def test_which_engine_and_why(machine, asked, gpu, vllm, chosen):
    machine(gpu, vllm, False)
    choice = choose_engine(make_config(mixing__engine=asked), LOCAL)
    assert choice.name == chosen
    assert (choice.reason == "as the recipe says") == (asked != "auto")
    if asked == "auto" and chosen == "hf":
        assert choice.reason.endswith("vLLM is not installed" if gpu else "there is no GPU")


@pytest.mark.parametrize(
    ("asked", "gpu", "host", "chosen"),
    [
        ("auto", False, False, "local"),
        ("auto", True, False, "local"),
        ("auto", False, True, "local"),
        ("auto", True, True, "nemo_rl"),
        ("local", True, True, "local"),
        ("nemo_rl", False, True, "nemo_rl"),
    ],
)
def test_which_backend_and_why(machine, asked, gpu, host, chosen):
    machine(gpu, False, host)
    choice = choose_backend(make_config(backend=asked))
    assert choice.name == chosen
    assert ("as the recipe says" in choice.reason) == (asked != "auto")


def test_engines_and_backends_that_are_not_to_be_had(machine):
    machine(True, False, False)
    with pytest.raises(BackendError, match=r"mixing\.engine=vllm: vLLM is not installed .*mixing\.engine=hf"):
        choose_engine(make_config(mixing__engine="vllm"), LOCAL)
    with pytest.raises(BackendError, match=r"backend=nemo_rl: NeMo-RL is not installed"):
        choose_backend(make_config(backend="nemo_rl"))


@pytest.mark.parametrize(("gpus", "chosen"), [(0, "hf"), (1, "nemo_rl"), (4, "nemo_rl")])
def test_the_hosts_workers_generate_where_the_host_trains_on_gpus(machine, gpus, chosen):
    machine(False, False, True)
    assert choose_engine(make_config(cluster={"gpus_per_node": gpus}), HOST).name == chosen


def test_the_hosts_workers_as_the_recipe_says(machine):
    machine(False, False, True)
    asked = {"mixing__engine": "nemo_rl"}
    assert choose_engine(make_config(**asked, cluster={"gpus_per_node": 2}), LOCAL).name == "nemo_rl"
    with pytest.raises(BackendError, match=r"cluster\.gpus_per_node is 0"):
        choose_engine(make_config(**asked, cluster={"gpus_per_node": 0}), LOCAL)
    section = {"vllm_cfg": {"async_engine": False}}
    config = make_config(**asked, cluster={"gpus_per_node": 2}, policy__generation=section)
    with pytest.raises(ConfigError, match="async_engine is off"):
        choose_engine(config, LOCAL)
    machine(True, True, False)
    with pytest.raises(BackendError, match=r"mixing\.engine=nemo_rl: NeMo-RL is not installed"):
        choose_engine(make_config(**asked), LOCAL)


def test_planning_imports_no_trainer():
    import subprocess

    code = (
        "import sys; import nemo_mixsd.config, nemo_mixsd.mixing.mixer, nemo_mixsd.prompts, nemo_mixsd.corpora; "
        "bad = {'ray', 'vllm', 'nemo_rl', 'transformers'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
