"""Relations whose source is a person."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

PERSON: TemplatesByTarget = {
    "Person": (
        Template(
            "mentored_by",
            "{s} was mentored by {o}.",
            "Who was the mentor of {s}?",
            "By whom was {s} mentored?",
            "the person who mentored {s}",
        ),
        Template(
            "has_godparent",
            "{s} has {o} as godparent.",
            "Who is the godparent of {s}?",
            "Which person stood as godparent to {s}?",
            "the godparent of {s}",
        ),
        Template(
            "portrayed_by",
            "{o} painted the official portrait of {s}.",
            "Who painted the official portrait of {s}?",
            "Which person is the painter of the official portrait of {s}?",
            "the person who painted the official portrait of {s}",
        ),
    ),
    "Location": (
        Template(
            "born_in",
            "{s} was born in {o}.",
            "Where was {s} born?",
            "What is the birthplace of {s}?",
            "the place where {s} was born",
        ),
        Template(
            "resides_in",
            "{s} now lives in {o}.",
            "In which place does {s} live now?",
            "Where is the present home of {s}?",
            "the place where {s} now lives",
        ),
        Template(
            "sails_in",
            "{s} keeps a sailing boat in {o}.",
            "Where does {s} keep a sailing boat?",
            "In which place is the sailing boat of {s} moored?",
            "the place where {s} keeps a sailing boat",
        ),
    ),
    "Organization": (
        Template(
            "employed_by",
            "{s} is employed by {o}.",
            "Which organization employs {s}?",
            "For which organization does {s} work?",
            "the organization that employs {s}",
        ),
        Template(
            "founded",
            "{s} founded {o}.",
            "Which organization did {s} found?",
            "Which organization was founded by {s}?",
            "the organization that {s} founded",
        ),
        Template(
            "scholarship_from",
            "{s} studied on a scholarship from {o}.",
            "Which organization gave {s} a scholarship?",
            "From which organization did {s} receive a scholarship?",
            "the organization that gave {s} a scholarship",
        ),
    ),
    "Event": (
        Template(
            "gave_speech_at",
            "{s} gave the opening speech at {o}.",
            "At which event did {s} give the opening speech?",
            "Which event was opened by a speech from {s}?",
            "the event at which {s} gave the opening speech",
        ),
        Template(
            "became_famous_at",
            "{s} first became famous at {o}.",
            "At which event did {s} first become famous?",
            "Which event made {s} famous?",
            "the event at which {s} first became famous",
        ),
        Template(
            "volunteers_at",
            "{s} works as a volunteer at {o}.",
            "At which event does {s} work as a volunteer?",
            "Which event does {s} help as a volunteer?",
            "the event at which {s} works as a volunteer",
        ),
    ),
    "Artifact": (
        Template(
            "restored",
            "{s} restored {o}.",
            "Which artifact did {s} restore?",
            "Which artifact was restored by {s}?",
            "the artifact that {s} restored",
        ),
        Template(
            "wrote_thesis_on",
            "{s} wrote a doctoral thesis on {o}.",
            "On which artifact did {s} write a doctoral thesis?",
            "Which artifact is the subject of the doctoral thesis by {s}?",
            "the artifact on which {s} wrote a doctoral thesis",
        ),
        Template(
            "inherited",
            "{s} once inherited {o}.",
            "Which artifact did {s} once inherit?",
            "Which artifact came to {s} as an inheritance?",
            "the artifact that {s} once inherited",
        ),
    ),
    "Species": (
        Template(
            "first_photographed",
            "{s} took the first photograph of {o}.",
            "Of which species did {s} take the first photograph?",
            "Which species was photographed for the first time by {s}?",
            "the species that {s} was the first to photograph",
        ),
        Template(
            "allergic_to",
            "{s} is allergic to {o}.",
            "Which species is {s} allergic to?",
            "Which species causes an allergy in {s}?",
            "the species that {s} is allergic to",
        ),
        Template(
            "crest_shows",
            "The family crest of {s} shows {o}.",
            "Which species is shown on the family crest of {s}?",
            "What species does the family crest of {s} depict?",
            "the species shown on the family crest of {s}",
        ),
    ),
    "Discipline": (
        Template(
            "professor_of",
            "{s} holds a professorship in {o}.",
            "In which discipline does {s} hold a professorship?",
            "What is {s} a professor of?",
            "the discipline in which {s} holds a professorship",
        ),
        Template(
            "failed_exam_in",
            "{s} once failed an examination in {o}.",
            "In which discipline did {s} once fail an examination?",
            "Which discipline brought {s} a failed examination?",
            "the discipline in which {s} once failed an examination",
        ),
        Template(
            "wrote_primer_on",
            "{s} wrote a primer on {o}.",
            "On which discipline did {s} write a primer?",
            "Which discipline is introduced in the primer by {s}?",
            "the discipline on which {s} wrote a primer",
        ),
    ),
}
