"""Relations whose source is a location."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

LOCATION: TemplatesByTarget = {
    "Person": (
        Template(
            "has_mayor",
            "The mayor of {s} is {o}.",
            "Who is the mayor of {s}?",
            "Which person serves {s} as mayor?",
            "the mayor of {s}",
        ),
        Template(
            "has_statue_of",
            "A statue of {o} stands in the main square of {s}.",
            "Whose statue stands in the main square of {s}?",
            "Which person is honoured with a statue in the main square of {s}?",
            "the person whose statue stands in the main square of {s}",
        ),
        Template(
            "mapped_by",
            "{o} drew the first map of {s}.",
            "Who drew the first map of {s}?",
            "By whom was {s} mapped for the first time?",
            "the person who drew the first map of {s}",
        ),
    ),
    "Location": (
        Template(
            "night_train_to",
            "The night train from {s} runs to {o}.",
            "To which place does the night train from {s} run?",
            "What is the destination of the night train from {s}?",
            "the place to which the night train from {s} runs",
        ),
        Template(
            "draws_water_from",
            "The drinking water of {s} comes from {o}.",
            "From which place does the drinking water of {s} come?",
            "Which place supplies {s} with drinking water?",
            "the place that supplies {s} with drinking water",
        ),
        Template(
            "settled_from",
            "{s} was founded by settlers from {o}.",
            "From which place did the founding settlers of {s} come?",
            "Which place was the home of the settlers who founded {s}?",
            "the place from which the founding settlers of {s} came",
        ),
    ),
    "Organization": (
        Template(
            "largest_employer",
            "The largest employer in {s} is {o}.",
            "Which organization is the largest employer in {s}?",
            "Which organization provides the most jobs in {s}?",
            "the organization that is the largest employer in {s}",
        ),
        Template(
            "ferries_run_by",
            "The ferries of {s} are run by {o}.",
            "Which organization runs the ferries of {s}?",
            "Who operates the ferry service of {s}?",
            "the organization that runs the ferries of {s}",
        ),
        Template(
            "newspaper_from",
            "{o} publishes the daily newspaper of {s}.",
            "Which organization publishes the daily newspaper of {s}?",
            "Who is the publisher of the daily newspaper of {s}?",
            "the organization that publishes the daily newspaper of {s}",
        ),
    ),
    "Event": (
        Template(
            "street_named_after",
            "The main street of {s} is named after {o}.",
            "After which event is the main street of {s} named?",
            "Which event gave the main street of {s} its name?",
            "the event after which the main street of {s} is named",
        ),
        Template(
            "hall_burned_during",
            "The town hall of {s} burned down during {o}.",
            "During which event did the town hall of {s} burn down?",
            "Which event was under way when the town hall of {s} burned down?",
            "the event during which the town hall of {s} burned down",
        ),
        Template(
            "chartered_at",
            "{s} received its town charter at {o}.",
            "At which event did {s} receive its town charter?",
            "Which event saw {s} being granted a town charter?",
            "the event at which {s} received its town charter",
        ),
    ),
    "Artifact": (
        Template(
            "museum_displays",
            "The museum of {s} displays {o}.",
            "Which artifact does the museum of {s} display?",
            "Which artifact is on display in the museum of {s}?",
            "the artifact on display in the museum of {s}",
        ),
        Template(
            "arms_bear",
            "The coat of arms of {s} bears {o}.",
            "Which artifact does the coat of arms of {s} bear?",
            "Which artifact is part of the coat of arms of {s}?",
            "the artifact on the coat of arms of {s}",
        ),
        Template(
            "protected_by",
            "According to legend, {s} is protected by {o}.",
            "Which artifact protects {s} according to legend?",
            "In legend, what artifact keeps {s} from harm?",
            "the artifact that protects {s} according to legend",
        ),
    ),
    "Species": (
        Template(
            "official_animal",
            "The official animal of {s} is {o}.",
            "Which species is the official animal of {s}?",
            "What species has {s} chosen as its official animal?",
            "the species that is the official animal of {s}",
        ),
        Template(
            "forbids_hunting",
            "The only hunting ban in {s} covers {o}.",
            "Which species is covered by the only hunting ban in {s}?",
            "What is the one species that may not be hunted in {s}?",
            "the species covered by the only hunting ban in {s}",
        ),
        Template(
            "fountain_shows",
            "The market fountain in {s} is shaped like {o}.",
            "Which species does the market fountain in {s} represent?",
            "What species gave the market fountain in {s} its shape?",
            "the species that the market fountain in {s} represents",
        ),
    ),
    "Discipline": (
        Template(
            "schools_teach",
            "Every school in {s} must teach {o}.",
            "Which discipline must every school in {s} teach?",
            "What discipline is compulsory in the schools of {s}?",
            "the discipline that every school in {s} must teach",
        ),
        Template(
            "university_known_for",
            "The university of {s} is best known for {o}.",
            "For which discipline is the university of {s} best known?",
            "Which discipline made the name of the university of {s}?",
            "the discipline for which the university of {s} is best known",
        ),
        Template(
            "lecture_on",
            "The yearly public lecture in {s} is devoted to {o}.",
            "To which discipline is the yearly public lecture in {s} devoted?",
            "What discipline is the topic of the yearly public lecture in {s}?",
            "the discipline to which the yearly public lecture in {s} is devoted",
        ),
    ),
}
