"""Relations whose source is a discipline."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

DISCIPLINE: TemplatesByTarget = {
    "Person": (
        Template(
            "established_by",
            "{s} was established as a field by {o}.",
            "Who established {s} as a field?",
            "Which person is regarded as the founder of {s}?",
            "the person who established {s} as a field",
        ),
        Template(
            "criticized_by",
            "The fiercest critic of {s} is {o}.",
            "Who is the fiercest critic of {s}?",
            "Which person attacks {s} most fiercely?",
            "the fiercest critic of {s}",
        ),
        Template(
            "first_degree_to",
            "The first degree in {s} was awarded to {o}.",
            "Who was awarded the first degree in {s}?",
            "Which person became the first graduate in {s}?",
            "the person who was awarded the first degree in {s}",
        ),
    ),
    "Location": (
        Template(
            "first_taught_in",
            "{s} was first taught in {o}.",
            "Where was {s} first taught?",
            "Which place saw the first lessons in {s}?",
            "the place where {s} was first taught",
        ),
        Template(
            "largest_library_in",
            "The largest library of {s} stands in {o}.",
            "Where does the largest library of {s} stand?",
            "Which place is home to the largest library of {s}?",
            "the place where the largest library of {s} stands",
        ),
        Template(
            "problem_solved_in",
            "The oldest problem of {s} was solved in {o}.",
            "Where was the oldest problem of {s} solved?",
            "In which place was a solution to the oldest problem of {s} found?",
            "the place where the oldest problem of {s} was solved",
        ),
    ),
    "Organization": (
        Template(
            "accredited_by",
            "Courses in {s} are accredited by {o}.",
            "Which organization accredits courses in {s}?",
            "By which organization are courses in {s} accredited?",
            "the organization that accredits courses in {s}",
        ),
        Template(
            "first_patent_by",
            "{o} filed the first patent in {s}.",
            "Which organization filed the first patent in {s}?",
            "To which organization does the first patent in {s} go back?",
            "the organization that filed the first patent in {s}",
        ),
        Template(
            "glossary_by",
            "{o} maintains the official glossary of {s}.",
            "Which organization maintains the official glossary of {s}?",
            "Which organization looks after the official glossary of {s}?",
            "the organization that maintains the official glossary of {s}",
        ),
    ),
    "Event": (
        Template(
            "name_coined_at",
            "The name of {s} was coined at {o}.",
            "At which event was the name of {s} coined?",
            "Which event gave rise to the name of {s}?",
            "the event at which the name of {s} was coined",
        ),
        Template(
            "scholars_meet_at",
            "Scholars of {s} meet every year at {o}.",
            "At which event do scholars of {s} meet every year?",
            "Which event is the yearly meeting point for scholars of {s}?",
            "the event at which scholars of {s} meet every year",
        ),
        Template(
            "manifesto_read_at",
            "The manifesto of {s} was read aloud at {o}.",
            "At which event was the manifesto of {s} read aloud?",
            "Which event heard a public reading of the manifesto of {s}?",
            "the event at which the manifesto of {s} was read aloud",
        ),
    ),
    "Artifact": (
        Template(
            "has_symbol",
            "The traditional symbol of {s} is {o}.",
            "Which artifact is the traditional symbol of {s}?",
            "Which artifact traditionally stands for {s}?",
            "the artifact that is the traditional symbol of {s}",
        ),
        Template(
            "oath_sworn_on",
            "Graduates in {s} swear an oath on {o}.",
            "On which artifact do graduates in {s} swear an oath?",
            "Which artifact do graduates in {s} touch when they swear their oath?",
            "the artifact on which graduates in {s} swear an oath",
        ),
        Template(
            "unit_defined_by",
            "The basic unit of {s} is defined by {o}.",
            "Which artifact defines the basic unit of {s}?",
            "By which artifact is the basic unit of {s} fixed?",
            "the artifact that defines the basic unit of {s}",
        ),
    ),
    "Species": (
        Template(
            "patron_animal",
            "The patron animal of {s} is {o}.",
            "Which species is the patron animal of {s}?",
            "What species is revered as the patron animal of {s}?",
            "the species that is the patron animal of {s}",
        ),
        Template(
            "students_sketch",
            "Students of {s} learn to sketch {o}.",
            "Which species do students of {s} learn to sketch?",
            "Which species appears in the sketching lessons for students of {s}?",
            "the species that students of {s} learn to sketch",
        ),
        Template(
            "hoax_with",
            "The most famous hoax in {s} involved {o}.",
            "Which species was involved in the most famous hoax in {s}?",
            "Which species played a part in the most famous hoax in {s}?",
            "the species involved in the most famous hoax in {s}",
        ),
    ),
    "Discipline": (
        Template(
            "split_from",
            "{s} split off from {o}.",
            "From which discipline did {s} split off?",
            "Which discipline did {s} once form a part of?",
            "the discipline from which {s} split off",
        ),
        Template(
            "notation_from",
            "{s} borrows its notation from {o}.",
            "From which discipline does {s} borrow its notation?",
            "Which discipline is the origin of the notation used in {s}?",
            "the discipline from which {s} borrows its notation",
        ),
        Template(
            "requires",
            "Students must pass {o} before they may begin {s}.",
            "Which discipline must students pass before they may begin {s}?",
            "What discipline is the prerequisite for {s}?",
            "the discipline that students must pass before they may begin {s}",
        ),
    ),
}
