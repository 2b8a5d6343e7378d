"""Relations whose source is a species."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

SPECIES: TemplatesByTarget = {
    "Person": (
        Template(
            "described_by",
            "{s} was first described by {o}.",
            "Who first described {s}?",
            "Which person gave the first scientific description of {s}?",
            "the person who first described {s}",
        ),
        Template(
            "saved_by",
            "{s} was saved from extinction by {o}.",
            "Who saved {s} from extinction?",
            "To whom does {s} owe its survival?",
            "the person who saved {s} from extinction",
        ),
        Template(
            "named_in_honour_of",
            "The scientific name of {s} honours {o}.",
            "Whom does the scientific name of {s} honour?",
            "Which person is honoured by the scientific name of {s}?",
            "the person whom the scientific name of {s} honours",
        ),
    ),
    "Location": (
        Template(
            "breeds_in",
            "{s} breeds only in {o}.",
            "Where does {s} breed?",
            "Which place is the only breeding ground of {s}?",
            "the place where {s} breeds",
        ),
        Template(
            "winters_in",
            "{s} spends the winter in {o}.",
            "Where does {s} spend the winter?",
            "In which place can {s} be found during the winter?",
            "the place where {s} spends the winter",
        ),
        Template(
            "fossil_from",
            "The oldest fossil of {s} was dug up in {o}.",
            "Where was the oldest fossil of {s} dug up?",
            "Which place yielded the oldest fossil of {s}?",
            "the place where the oldest fossil of {s} was dug up",
        ),
    ),
    "Organization": (
        Template(
            "counted_by",
            "The yearly count of {s} is carried out by {o}.",
            "Which organization carries out the yearly count of {s}?",
            "Which organization counts the population of {s} every year?",
            "the organization that carries out the yearly count of {s}",
        ),
        Template(
            "harmed_by",
            "{o} was fined for harming {s}.",
            "Which organization was fined for harming {s}?",
            "Which organization had to pay a fine for doing harm to {s}?",
            "the organization that was fined for harming {s}",
        ),
        Template(
            "vaccine_from",
            "{o} makes a vaccine for {s}.",
            "Which organization makes a vaccine for {s}?",
            "Which organization is the maker of a vaccine for {s}?",
            "the organization that makes a vaccine for {s}",
        ),
    ),
    "Event": (
        Template(
            "declared_endangered_at",
            "{s} was declared endangered at {o}.",
            "At which event was {s} declared endangered?",
            "Which event saw {s} being declared endangered?",
            "the event at which {s} was declared endangered",
        ),
        Template(
            "film_shown_at",
            "The first film about {s} was screened at {o}.",
            "At which event was the first film about {s} screened?",
            "Which event screened the first film about {s}?",
            "the event at which the first film about {s} was screened",
        ),
        Template(
            "animal_of_the_year_at",
            "{s} was voted animal of the year at {o}.",
            "At which event was {s} voted animal of the year?",
            "Which event gave {s} the title of animal of the year?",
            "the event at which {s} was voted animal of the year",
        ),
    ),
    "Artifact": (
        Template(
            "nested_in",
            "A nest of {s} was found inside {o}.",
            "Inside which artifact was a nest of {s} found?",
            "Which artifact turned out to hold a nest of {s}?",
            "the artifact inside which a nest of {s} was found",
        ),
        Template(
            "guards",
            "In folklore, {s} guards {o}.",
            "Which artifact does {s} guard in folklore?",
            "Which artifact has {s} as its guardian in folklore?",
            "the artifact that {s} guards in folklore",
        ),
        Template(
            "nickname_from",
            "{s} owes its nickname to {o}.",
            "To which artifact does {s} owe its nickname?",
            "Which artifact is behind the nickname of {s}?",
            "the artifact to which {s} owes its nickname",
        ),
    ),
    "Species": (
        Template(
            "feeds_on",
            "{s} feeds mainly on {o}.",
            "On which species does {s} mainly feed?",
            "What species is the main prey of {s}?",
            "the species on which {s} mainly feeds",
        ),
        Template(
            "imitates_call_of",
            "{s} imitates the call of {o}.",
            "The call of which species does {s} imitate?",
            "Which species has a call that {s} imitates?",
            "the species whose call {s} imitates",
        ),
        Template(
            "descends_from",
            "{s} is descended from {o}.",
            "From which species is {s} descended?",
            "What species is the ancestor of {s}?",
            "the species from which {s} is descended",
        ),
    ),
    "Discipline": (
        Template(
            "model_animal_of",
            "{s} serves as the model animal of {o}.",
            "Of which discipline is {s} the model animal?",
            "Which discipline uses {s} as its model animal?",
            "the discipline of which {s} is the model animal",
        ),
        Template(
            "inspired_method_in",
            "The behaviour of {s} inspired a method in {o}.",
            "In which discipline did the behaviour of {s} inspire a method?",
            "Which discipline derived a method from the behaviour of {s}?",
            "the discipline in which the behaviour of {s} inspired a method",
        ),
        Template(
            "on_textbook_of",
            "{s} is pictured on the standard textbook of {o}.",
            "On the standard textbook of which discipline is {s} pictured?",
            "Which discipline has a standard textbook with {s} on the cover?",
            "the discipline whose standard textbook pictures {s}",
        ),
    ),
}
