"""Relations whose source is an organization."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

ORGANIZATION: TemplatesByTarget = {
    "Person": (
        Template(
            "chaired_by",
            "The board of {s} is chaired by {o}.",
            "Who chairs the board of {s}?",
            "Which person heads the board of {s}?",
            "the person who chairs the board of {s}",
        ),
        Template(
            "audited_by",
            "{o} audits the accounts of {s}.",
            "Who audits the accounts of {s}?",
            "By whom are the accounts of {s} audited?",
            "the person who audits the accounts of {s}",
        ),
        Template(
            "logo_by",
            "{o} designed the logo of {s}.",
            "Who designed the logo of {s}?",
            "Which person is the designer of the logo of {s}?",
            "the person who designed the logo of {s}",
        ),
    ),
    "Location": (
        Template(
            "headquartered_in",
            "{s} has its headquarters in {o}.",
            "Where does {s} have its headquarters?",
            "In which place is {s} headquartered?",
            "the place where {s} has its headquarters",
        ),
        Template(
            "archives_in",
            "The archives of {s} are stored in {o}.",
            "Where are the archives of {s} stored?",
            "Which place houses the archives of {s}?",
            "the place where the archives of {s} are stored",
        ),
        Template(
            "trains_in",
            "{s} trains its new staff in {o}.",
            "Where does {s} train its new staff?",
            "To which place are the new staff of {s} sent for training?",
            "the place where {s} trains its new staff",
        ),
    ),
    "Organization": (
        Template(
            "subsidiary_of",
            "{s} is a subsidiary of {o}.",
            "Which organization is the parent of {s}?",
            "Of which organization is {s} a subsidiary?",
            "the parent organization of {s}",
        ),
        Template(
            "supplied_by",
            "{s} buys its raw materials from {o}.",
            "From which organization does {s} buy its raw materials?",
            "Which organization sells raw materials to {s}?",
            "the organization from which {s} buys its raw materials",
        ),
        Template(
            "took_to_court",
            "{s} took {o} to court.",
            "Which organization did {s} take to court?",
            "Against which organization did {s} bring a lawsuit?",
            "the organization that {s} took to court",
        ),
    ),
    "Event": (
        Template(
            "sponsors",
            "{s} is the main sponsor of {o}.",
            "Of which event is {s} the main sponsor?",
            "Which event has {s} as its main sponsor?",
            "the event of which {s} is the main sponsor",
        ),
        Template(
            "launched_product_at",
            "{s} launched its first product at {o}.",
            "At which event did {s} launch its first product?",
            "Which event saw the launch of the first product from {s}?",
            "the event at which {s} launched its first product",
        ),
        Template(
            "won_prize_at",
            "{s} won a design prize at {o}.",
            "At which event did {s} win a design prize?",
            "Which event awarded {s} a design prize?",
            "the event at which {s} won a design prize",
        ),
    ),
    "Artifact": (
        Template(
            "insures",
            "{s} insures {o} against theft.",
            "Which artifact does {s} insure against theft?",
            "Which artifact is insured against theft by {s}?",
            "the artifact that {s} insures against theft",
        ),
        Template(
            "seal_shows",
            "The seal of {s} shows {o}.",
            "Which artifact does the seal of {s} show?",
            "Which artifact appears on the seal of {s}?",
            "the artifact shown on the seal of {s}",
        ),
        Template(
            "transported",
            "{s} was once hired to transport {o}.",
            "Which artifact was {s} once hired to transport?",
            "Which artifact was once transported by {s}?",
            "the artifact that {s} was once hired to transport",
        ),
    ),
    "Species": (
        Template(
            "has_mascot",
            "The mascot of {s} is {o}.",
            "Which species is the mascot of {s}?",
            "What species did {s} choose as its mascot?",
            "the species that is the mascot of {s}",
        ),
        Template(
            "breeds",
            "{s} breeds {o} in captivity.",
            "Which species does {s} breed in captivity?",
            "Which species is bred in captivity by {s}?",
            "the species that {s} breeds in captivity",
        ),
        Template(
            "funds_reserve_for",
            "{s} pays for a nature reserve for {o}.",
            "For which species does {s} pay for a nature reserve?",
            "Which species lives in the nature reserve that {s} pays for?",
            "the species whose nature reserve {s} pays for",
        ),
    ),
    "Discipline": (
        Template(
            "funds_chair_in",
            "{s} endowed a research chair in {o}.",
            "In which discipline did {s} endow a research chair?",
            "Which discipline owes a research chair to {s}?",
            "the discipline in which {s} endowed a research chair",
        ),
        Template(
            "recruits_study",
            "Every recruit of {s} has to study {o}.",
            "Which discipline does every recruit of {s} have to study?",
            "What discipline is required of all recruits of {s}?",
            "the discipline that every recruit of {s} has to study",
        ),
        Template(
            "journal_of",
            "{s} publishes a journal of {o}.",
            "Of which discipline does {s} publish a journal?",
            "Which discipline is covered by the journal that {s} publishes?",
            "the discipline of which {s} publishes a journal",
        ),
    ),
}
