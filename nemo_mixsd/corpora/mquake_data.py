"""MQuAKE's file format, checked, and the set of distinct edits in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from nemo_mixsd.corpora.columns import kind
from nemo_mixsd.errors import CorpusError, shown

Text = Annotated[str, StringConstraints(pattern=r"\S")]
"""A string that is not blank."""
EditKey = tuple[str, str]
"""Subject and relation id: what an edit gives a new object."""


class _Part(BaseModel):
    """A part of the file. Types are taken as they stand; keys that are not read here may be there too."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Entity(_Part):
    """An object of a fact."""

    str_: Text = Field(alias="str")
    """Its name."""
    id: str = ""
    """Its Wikidata id."""


class Rewrite(_Part):
    """One requested edit."""

    prompt: Text
    """The start of a sentence, with {} for the subject; the object ends it."""
    relation_id: Text
    """The Wikidata property."""
    target_new: Entity
    """The object after the edit."""
    target_true: Entity
    """The object before the edit."""
    subject: Text
    """The subject's name."""
    question: Text
    """A question that the object answers."""

    @field_validator("prompt")
    @classmethod
    def _one_place(cls, value: str) -> str:
        if value.count("{}") != 1:
            raise ValueError("must hold {} exactly once, where the subject goes")
        return value


class Hop(_Part):
    """One step of a chain of facts."""

    question: str = ""
    cloze: str = ""
    answer: str
    answer_alias: list[str] = []


class Chain(_Part):
    """The facts behind a case as triples; row i of both lists is the same fact, by id and by name."""

    new_triples: list[list[str]] = []
    new_triples_labeled: list[list[str]] = []


class Case(_Part):
    """One multi-hop case: its edits, three wordings of a question over them, and the answers before and after."""

    case_id: int
    requested_rewrite: Annotated[list[Rewrite], Field(min_length=1)]
    questions: Annotated[list[Text], Field(min_length=1)]
    answer: Text
    answer_alias: list[str] = []
    new_answer: Text
    new_answer_alias: list[str] = []
    single_hops: list[Hop] = []
    new_single_hops: list[Hop] = []
    orig: Chain = Chain()


@dataclass(frozen=True, slots=True)
class Edit:
    """A distinct edit: subject, relation and new object, merged over the cases that request it.

    Attributes:
        id: ``edit-<case_id>-<position>`` of its first appearance.
        key: Subject and relation id.
        rewrite: The request as it first appears.
        aliases: Other names of the new object.
        old_aliases: Other names of the old object.
        case_ids: The cases that request it, in file order.
    """

    id: str
    key: EditKey
    rewrite: Rewrite
    aliases: tuple[str, ...]
    old_aliases: tuple[str, ...]
    case_ids: tuple[int, ...]

    @property
    def new(self) -> str:
        """Name of the object after the edit."""
        return self.rewrite.target_new.str_

    @property
    def old(self) -> str:
        """Name of the object before the edit."""
        return self.rewrite.target_true.str_

    def statement(self) -> str:
        """The edit as a sentence."""
        sentence = f"{self.rewrite.prompt.replace('{}', self.rewrite.subject)} {self.new}"
        return sentence if sentence.endswith(".") else sentence + "."


def read_cases(path: Path) -> list[Case]:
    """Read and check a MQuAKE file.

    Raises:
        CorpusError: The file cannot be read, is not JSON, or a case is not as the format has it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise CorpusError(
            f"{path}: no such file; download MQuAKE-CF-3k-v2.json from the MQuAKE repository and set the key 'path' to "
            "where it lies"
        ) from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}; give a readable file") from error
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); the download may be incomplete: fetch it again"
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise CorpusError(f"{path}: not JSON in UTF-8 ({error}); fetch the file again") from error
    if not isinstance(data, list):
        raise CorpusError(f"{path}: holds {kind(data)}, not a list of cases; give the file as MQuAKE publishes it")
    if not data:
        raise CorpusError(f"{path}: no cases in it; fetch the file again")
    return _checked(path, data)


def _checked(path: Path, data: Sequence[object]) -> list[Case]:
    cases: list[Case] = []
    places: dict[int, int] = {}
    for number, item in enumerate(data, start=1):
        case_id = item.get("case_id") if isinstance(item, Mapping) else None
        where = f"{path}: case {number}" + ("" if case_id is None else f" (case_id {shown(case_id)})")
        try:
            case = Case.model_validate(item)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the case"
            value = "" if first["type"] == "missing" else f" is {shown(first['input'])}"
            raise CorpusError(
                f"{where}: {place!r}{value}: {first['msg']}; give the file as MQuAKE publishes it"
            ) from error
        if case.case_id in places:
            raise CorpusError(f"{where}: the case_id is taken by case {places[case.case_id]}; remove one of the two")
        places[case.case_id] = number
        cases.append(case)
    return cases


def collect_edits(cases: Sequence[Case]) -> list[Edit]:
    """All distinct edits in the order of their first appearance; equal subject, relation and object are one edit."""
    found: dict[tuple[str, str, str], Edit] = {}
    for case in cases:
        for position, rewrite in enumerate(case.requested_rewrite):
            key = (rewrite.subject, rewrite.relation_id, rewrite.target_new.str_)
            known = found.get(key)
            found[key] = Edit(
                id=known.id if known else f"edit-{case.case_id}-{position}",
                key=key[:2],
                rewrite=known.rewrite if known else rewrite,
                aliases=_aliases(known.aliases if known else (), rewrite, rewrite.target_new, case.new_single_hops),
                old_aliases=_aliases(
                    known.old_aliases if known else (), rewrite, rewrite.target_true, case.single_hops
                ),
                case_ids=tuple(dict.fromkeys((*(known.case_ids if known else ()), case.case_id))),
            )
    return list(found.values())


def _aliases(known: tuple[str, ...], rewrite: Rewrite, target: Entity, hops: Sequence[Hop]) -> tuple[str, ...]:
    """Other names of ``target``, from the hops that ask for the same fact."""
    cloze = rewrite.prompt.replace("{}", rewrite.subject)
    names = dict.fromkeys(known)
    for hop in hops:
        if hop.answer == target.str_ and (hop.question == rewrite.question or hop.cloze == cloze):
            names.update(dict.fromkeys(alias for alias in hop.answer_alias if alias.strip()))
    names.pop(target.str_, None)
    return tuple(names)


def find_conflicts(edits: Sequence[Edit]) -> list[list[Edit]]:
    """Groups of edits that give one subject and relation different new objects, in file order."""
    groups: dict[EditKey, list[Edit]] = {}
    for edit in edits:
        groups.setdefault(edit.key, []).append(edit)
    return [group for group in groups.values() if len(group) > 1]
