"""The tables of docs/corpora/kgfunc.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from nemo_mixsd.corpora.kgfunc import OPERATIONS, KGFuncConfig, KGFuncCorpus

TEXT = (Path(__file__).parents[4] / "docs" / "corpora" / "kgfunc.md").read_text(encoding="utf-8")


def test_the_worked_solution() -> None:
    assert f"```\n{OPERATIONS['B'].explain(48213)}\n```" in TEXT


def test_the_keys_and_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", TEXT.split("## Keys")[1], flags=re.MULTILINE)
    defaults = {k: f.default for k, f in KGFuncConfig.model_fields.items() if k != "name"}
    shown = {k: "null" if v is None else ", ".join(v) if isinstance(v, tuple) else str(v) for k, v in defaults.items()}
    assert dict(rows) == shown


def test_the_counts_of_the_splits() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ", TEXT.split("## Keys")[0], flags=re.MULTILINE)
    corpus = KGFuncCorpus(KGFuncConfig())
    assert {k: int(v.replace(",", "")) for k, v in rows} == {k: len(corpus.load_split(k)) for k in corpus.split_names()}
