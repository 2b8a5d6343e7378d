"""Wordings of all relations, one file a source domain."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.artifact import ARTIFACT
from nemo_mixsd.corpora.kgfact.templates.discipline import DISCIPLINE
from nemo_mixsd.corpora.kgfact.templates.event import EVENT
from nemo_mixsd.corpora.kgfact.templates.location import LOCATION
from nemo_mixsd.corpora.kgfact.templates.organization import ORGANIZATION
from nemo_mixsd.corpora.kgfact.templates.person import PERSON
from nemo_mixsd.corpora.kgfact.templates.species import SPECIES
from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

TEMPLATES: dict[str, TemplatesByTarget] = {
    "Person": PERSON,
    "Location": LOCATION,
    "Organization": ORGANIZATION,
    "Event": EVENT,
    "Artifact": ARTIFACT,
    "Species": SPECIES,
    "Discipline": DISCIPLINE,
}
"""Name of the source domain to its relations."""

RELATIONS_PER_PAIR = 3
"""How many relations lead from one domain to another, or to itself."""

__all__ = ["RELATIONS_PER_PAIR", "TEMPLATES", "Template", "TemplatesByTarget"]
