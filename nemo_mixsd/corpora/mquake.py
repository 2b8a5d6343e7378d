"""MQuAKE (Zhong et al., 2023): counterfactual edits as facts, and questions that follow from them (appendix E.5)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.mquake_data import Case, Edit, EditKey, collect_edits, find_conflicts, read_cases
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.types import Example

logger = logging.getLogger(__name__)

_LISTED_CONFLICTS = 10

RETRIEVAL_TEMPLATE = "Notes:\n{notes}\n\nGoing by these notes alone: {question}"
"""The question of the ``retrieval`` split: the edit's statement among those of other edits."""


class MQuakeConfig(CorpusConfig):
    """A MQuAKE file with counterfactual edits, such as ``MQuAKE-CF-3k-v2.json``."""

    name: Literal["mquake"] = "mquake"
    """This corpus."""
    path: str
    """The file, as MQuAKE publishes it."""
    edits: int | None = Field(default=100, ge=1)
    """How many distinct edits to train on, a random subset; null for all. The paper's setting is 100."""
    seed: int = 0
    """Chooses the subset of edits and the distractors."""
    distractors: int = Field(default=9, ge=0)
    """How many other edits' statements stand beside the right one in the ``retrieval`` split, at most."""
    conflicts: Literal["error", "drop"] = "error"
    """What to do where two edits give one subject and relation different objects: stop and list them, or leave all
    edits of such a group out."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen edits by subject and relation, in file order, and the cases that they answer."""

    edits: Mapping[EditKey, Edit]
    cases: tuple[Case, ...]


class MQuakeCorpus(Corpus[MQuakeConfig]):
    """Splits ``train`` (edits), ``retrieval``, ``multi_hop`` (where a case is wholly edited) and ``old_answers``."""

    config_type = MQuakeConfig
    expected_findings: ClassVar[Mapping[str, frozenset[str]]] = {"old_answers": frozenset({"overlap"})}
    """What ``corpus check`` would report of a split although it is the split's purpose."""
    _selection: Selection | None = None

    def split_names(self) -> tuple[str, ...]:
        """All four, without ``multi_hop`` where no case has all its edits in the subset."""
        multi_hop = ("multi_hop",) if self.selection().cases else ()
        return ("train", "retrieval", *multi_hop, "old_answers")

    def iter_split(self, split: str) -> Iterator[Example]:
        """Stream one split in the order of the file.

        Raises:
            CorpusError: No such split, or the file is wrong or contradicts itself.
        """
        if split not in self.split_names():
            raise self._unknown_split(split)
        if split == "multi_hop":
            return self._multi_hop()
        make: dict[str, Callable[[Edit], Example]] = {
            "train": _train_example,
            "retrieval": self._retrieval_example,
            "old_answers": _old_example,
        }
        return map(make[split], self.selection().edits.values())

    def selection(self) -> Selection:
        """The chosen edits and the cases that they answer, read once.

        Raises:
            CorpusError: As for ``iter_split``.
        """
        if self._selection is None:
            self._selection = self._select()
        return self._selection

    def _select(self) -> Selection:
        path = self.config.path
        cases = read_cases(Path(path))
        edits = self._without_conflicts(collect_edits(cases))
        count = self.config.edits
        if count is not None:
            if count > len(edits):
                raise CorpusError(
                    f"{path}: corpus.edits is {count}, but the file has {len(edits)} distinct edits to choose from; "
                    f"set edits to at most {len(edits)}, or to null for all"
                )
            kept = set(KeyedRandom("mquake", "edits", self.config.seed).sample(range(len(edits)), count))
            edits = [edit for i, edit in enumerate(edits) if i in kept]
        chosen = {edit.key: edit for edit in edits}
        return Selection(chosen, tuple(case for case in cases if _answered(case, chosen)))

    def _without_conflicts(self, edits: list[Edit]) -> list[Edit]:
        groups = find_conflicts(edits)
        if not groups:
            return edits
        if self.config.conflicts == "error":
            lines = [_describe(group) for group in groups[:_LISTED_CONFLICTS]]
            more = len(groups) - len(lines)
            raise CorpusError(
                f"{self.config.path}: {len(groups)} facts are edited to different objects; set 'conflicts: drop' to "
                f"leave them out: {'; '.join(lines)}" + (f"; and {more} more" if more else "")
            )
        clashing = {group[0].key for group in groups}
        left = [edit for edit in edits if edit.key not in clashing]
        logger.warning(
            "%s: %d of %d edits left out, they conflict", self.config.path, len(edits) - len(left), len(edits)
        )
        if not left:
            raise CorpusError(f"{self.config.path}: every edit conflicts with another, none is left; give another file")
        return left

    def _retrieval_example(self, edit: Edit) -> Example:
        random = KeyedRandom("mquake", "retrieval", self.config.seed, edit.id)
        others = [other for other in self.selection().edits.values() if other is not edit]
        notes = random.sample(others, min(self.config.distractors, len(others)))
        notes.insert(random.below(len(notes) + 1), edit)
        listed = "\n".join(f"- {note.statement()}" for note in notes)
        question = RETRIEVAL_TEMPLATE.format(notes=listed, question=edit.rewrite.question)
        return _example(edit, "retrieval", f"{edit.id}/retrieval", question)

    def _multi_hop(self) -> Iterator[Example]:
        selection = self.selection()
        for case in selection.cases:
            edits = (selection.edits[r.subject, r.relation_id] for r in case.requested_rewrite)
            context = " ".join(edit.statement() for edit in edits)
            aliases = dict.fromkeys(alias for alias in case.new_answer_alias if alias.strip())
            aliases.pop(case.new_answer, None)
            for k, question in enumerate(case.questions, start=1):
                yield Example(
                    id=f"case-{case.case_id}/q{k}",
                    question=question,
                    answer=case.new_answer,
                    target=case.new_answer,
                    context=context,
                    subject=case.requested_rewrite[0].subject,
                    split="multi_hop",
                    answer_type=f"{len(case.new_single_hops)}-hop" if case.new_single_hops else "",
                    aliases=tuple(aliases),
                )


def _train_example(edit: Edit) -> Example:
    return _example(edit, "train", edit.id, edit.rewrite.question)


def _old_example(edit: Edit) -> Example:
    """The same question with the answer from before the edit; it is not a fact to teach but one to have left."""
    return Example(
        id=f"{edit.id}/old",
        question=edit.rewrite.question,
        answer=edit.old,
        target=edit.old,
        context=edit.old,
        subject=edit.rewrite.subject,
        split="old_answers",
        aliases=edit.old_aliases,
    )


def _example(edit: Edit, split: str, example_id: str, question: str) -> Example:
    return Example(
        id=example_id,
        question=question,
        answer=edit.new,
        target=edit.new,
        context=edit.statement(),
        subject=edit.rewrite.subject,
        split=split,
        aliases=edit.aliases,
    )


def _answered(case: Case, chosen: Mapping[EditKey, Edit]) -> bool:
    """True if the chosen edits make the case's new answer right.

    All its own edits must be among them, and none of them may change another step of its chain: then the published
    new answer is no longer what follows from the edits.
    """
    for rewrite in case.requested_rewrite:
        edit = chosen.get((rewrite.subject, rewrite.relation_id))
        if edit is None or edit.new != rewrite.target_new.str_:
            return False
    for ids, names in zip(case.orig.new_triples, case.orig.new_triples_labeled, strict=False):
        if len(ids) != 3 or len(names) != 3:
            continue
        edit = chosen.get((names[0], ids[1]))
        if edit is not None and edit.new != names[2]:
            return False
    return True


def _describe(group: list[Edit]) -> str:
    subject, relation = group[0].key
    objects = " / ".join(f"{edit.new!r} (case {', '.join(map(str, edit.case_ids[:3]))})" for edit in group)
    return f"{subject!r} {relation}: {objects}"
