"""Recipes: inheritance, overrides, interpolation, and one-line errors."""

import pytest

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.recipe import flatten, load_recipe, nearest

BASE = "a: {x: 1, y: [1, 2]}\nb: 3\n"


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("child", "merged"),
    [
        ("", {"a": {"x": 1, "y": [1, 2]}, "b": 3}),
        ("b: 4", {"a": {"x": 1, "y": [1, 2]}, "b": 4}),
        ("a: {x: 2}", {"a": {"x": 2, "y": [1, 2]}, "b": 3}),
        ("a: {y: [9]}", {"a": {"x": 1, "y": [9]}, "b": 3}),  # lists replace
        ("a: {z: {w: 1}}", {"a": {"x": 1, "y": [1, 2], "z": {"w": 1}}, "b": 3}),
        ("a: {_override_: true, z: 1}", {"a": {"z": 1}, "b": 3}),
        ("a: {_override_: false, z: 1}", {"a": {"x": 1, "y": [1, 2], "z": 1, "_override_": False}, "b": 3}),
        ("new: {_override_: true, z: 1}", {"a": {"x": 1, "y": [1, 2]}, "b": 3, "new": {"z": 1}}),
        ("a: null", {"a": None, "b": 3}),
        ("b: {c: 1}", {"a": {"x": 1, "y": [1, 2]}, "b": {"c": 1}}),
        ("c: ${b}", {"a": {"x": 1, "y": [1, 2]}, "b": 3, "c": 3}),
        ("b: 5\nc: ${mul:${b},2}", {"a": {"x": 1, "y": [1, 2]}, "b": 5, "c": 10}),
        ("c: ${div:${b},2}\nd: ${max:${b},7}", {"a": {"x": 1, "y": [1, 2]}, "b": 3, "c": 1.5, "d": 7}),
    ],
)
def test_a_child_is_merged_into_its_parent(write, child, merged):
    write("base.yaml", BASE)
    assert load_recipe(write("child.yaml", f"defaults: base.yaml\n{child}\n")) == merged


def test_several_parents_later_ones_win_and_grandparents_count(write):
    write("deep/root.yaml", "v: root\nr: 1")
    write("deep/one.yaml", "defaults: root.yaml\nv: one\np: [1]")
    write("two.yaml", "v: two\nq: ${r}")
    child = write("child.yaml", "defaults: [deep/one.yaml, two.yaml]\np: [2]")
    assert load_recipe(child) == {"v": "two", "r": 1, "p": [2], "q": 1}


def test_the_same_parent_twice_is_no_circle(write):
    write("root.yaml", "r: 1")
    write("one.yaml", "defaults: root.yaml\none: 1")
    write("two.yaml", "defaults: root.yaml\ntwo: 2")
    assert load_recipe(write("child.yaml", "defaults: [one.yaml, two.yaml]")) == {"r": 1, "one": 1, "two": 2}


def test_an_empty_defaults_has_no_parents(write):
    assert load_recipe(write("child.yaml", "defaults:\na: 1")) == {"a": 1}
    assert load_recipe(write("empty.yaml", "")) == {}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("a.x=5", "a.x", 5),
        ("a.x=1e-5", "a.x", 1e-5),
        ("a.x=true", "a.x", True),
        ("a.x=null", "a.x", None),
        ("a.x='two words'", "a.x", "two words"),
        ("a.x=bundled:smollm2-135m-instruct", "a.x", "bundled:smollm2-135m-instruct"),
        ("a.x=/some/path-1/x.jsonl", "a.x", "/some/path-1/x.jsonl"),
        ("a.x=[0,0.3,0.5]", "a.x", [0, 0.3, 0.5]),
        ("a.x=[sft,mixsd]", "a.x", ["sft", "mixsd"]),
        ("a.y=[]", "a.y", []),
        ("a.y.0=7", "a.y", [7, 2]),
        ("a={z: 1}", "a.z", 1),
        ("a={z: 1}", "a.x", 1),  # a mapping is merged
        ("new.deep.key=1", "new.deep.key", 1),
        ("+new=1", "new", 1),
        ("++a.x=2", "a.x", 2),
        ("a.x=${b}", "a.x", 3),
        ("b=4", "c", 8),  # interpolations see overrides
    ],
)
def test_overrides(write, override, key, value):
    recipe = load_recipe(write("r.yaml", BASE + "c: ${mul:${b},2}"), [override])
    for part in key.split("."):
        recipe = recipe[part]
    assert recipe == value
    assert type(recipe) is type(value)


def test_later_overrides_win_and_deletions_delete(write):
    path = write("r.yaml", BASE)
    assert load_recipe(path, ["b=4", "b=5", "~a.x"]) == {"a": {"y": [1, 2]}, "b": 5}
    assert load_recipe(path, ["~a"]) == {"b": 3}


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("b", "override 'b' does not parse: write key=value"),
        ("b=[1", "does not parse"),
        ("b=1,2", r"override 'b=1,2' is a sweep; write a list, b=\[...\]"),
        ("a.x=choice(1,2)", r"is a sweep; write a list, a.x=\[...\]"),
        ("~a.q", "override '~a.q': the recipe has no key 'a.q'"),
        ("~q.a", "the recipe has no key 'q.a'"),
        ("a.y.5=1", "override 'a.y.5=1' cannot be applied: list index out of range"),
    ],
)
def test_bad_overrides(write, override, text):
    with pytest.raises(ConfigError, match=text) as caught:
        load_recipe(write("r.yaml", BASE), [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[1, 2]", "a recipe is a mapping of sections, this file holds a ListConfig"),
        ("42", "not a YAML recipe"),
        ("a: [1", "not a YAML recipe: .*line 1"),
        ("a:\n\tb: 1", "not a YAML recipe: .*line 2"),
        ("a: 1\na: 2", "not a YAML recipe: .*duplicate key a"),
        ("a: ${nothing}", "Interpolation key 'nothing' not found, at key a"),
        ("a: ${b}\nb: ${a}", "Recursive interpolation"),
        ("a: ${mul:1}", "mul expected 2 arguments"),
        ("a: ${nosuch:1}", "nosuch"),
        ("defaults: gone.yaml", r"recipe .*gone\.yaml does not exist, which .*r\.yaml names in 'defaults'"),
        ("defaults: r.yaml", r"'defaults' goes round in a circle"),
        ("defaults: other.yaml", r"'defaults' goes round in a circle \(.*r\.yaml -> .*other\.yaml\)"),
    ],
)
def test_bad_files(write, content, text):
    write("other.yaml", "defaults: r.yaml")
    path = write("r.yaml", content)
    with pytest.raises(ConfigError, match=text) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert ".yaml" in str(caught.value)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"recipe .*none\.yaml does not exist$"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"not a YAML recipe: .*directory"):
        load_recipe(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"not a YAML recipe: .*utf-8"):
        load_recipe(tmp_path / "b.yaml")


def test_nearest():
    assert nearest("ratee", ["rate", "seed"]) == "; did you mean 'rate'?"
    assert nearest("zzz", ["rate", "seed"]) == ""


def test_flatten():
    nested = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}, "g": None}
    assert flatten(nested) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": {}, "g": None}
