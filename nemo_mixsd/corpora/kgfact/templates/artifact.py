"""Relations whose source is an artifact."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

ARTIFACT: TemplatesByTarget = {
    "Person": (
        Template(
            "made_by",
            "{s} was made by {o}.",
            "Who made {s}?",
            "Which person is the maker of {s}?",
            "the maker of {s}",
        ),
        Template(
            "stolen_by",
            "{s} was once stolen by {o}.",
            "Who once stole {s}?",
            "By whom was {s} once stolen?",
            "the person who once stole {s}",
        ),
        Template(
            "dedicated_to",
            "{s} bears a dedication to {o}.",
            "To whom is {s} dedicated?",
            "Which person is named in the dedication on {s}?",
            "the person to whom {s} is dedicated",
        ),
    ),
    "Location": (
        Template(
            "discovered_in",
            "{s} was discovered in {o}.",
            "Where was {s} discovered?",
            "Which place is the find spot of {s}?",
            "the place where {s} was discovered",
        ),
        Template(
            "material_from",
            "The gold used for {s} was mined in {o}.",
            "Where was the gold used for {s} mined?",
            "From which place does the gold in {s} originate?",
            "the place where the gold used for {s} was mined",
        ),
        Template(
            "hidden_in",
            "{s} was hidden in {o} during the war.",
            "Where was {s} hidden during the war?",
            "Which place served as the wartime hiding place of {s}?",
            "the place where {s} was hidden during the war",
        ),
    ),
    "Organization": (
        Template(
            "owned_by",
            "{s} is the property of {o}.",
            "Which organization owns {s}?",
            "To which organization does {s} belong?",
            "the organization that owns {s}",
        ),
        Template(
            "replicas_from",
            "{o} sells replicas of {s}.",
            "Which organization sells replicas of {s}?",
            "From which organization can one buy a replica of {s}?",
            "the organization that sells replicas of {s}",
        ),
        Template(
            "dated_by",
            "The age of {s} was determined by {o}.",
            "Which organization determined the age of {s}?",
            "Which organization found out how old {s} is?",
            "the organization that determined the age of {s}",
        ),
    ),
    "Event": (
        Template(
            "first_shown_at",
            "{s} was first shown to the public at {o}.",
            "At which event was {s} first shown to the public?",
            "Which event saw the first public showing of {s}?",
            "the event at which {s} was first shown to the public",
        ),
        Template(
            "damaged_during",
            "{s} was damaged during {o}.",
            "During which event was {s} damaged?",
            "At which event did {s} suffer damage?",
            "the event during which {s} was damaged",
        ),
        Template(
            "commissioned_for",
            "{s} was originally commissioned for {o}.",
            "For which event was {s} originally commissioned?",
            "Which event was the original reason for commissioning {s}?",
            "the event for which {s} was originally commissioned",
        ),
    ),
    "Artifact": (
        Template(
            "modelled_on",
            "{s} was modelled on {o}.",
            "On which artifact was {s} modelled?",
            "Which artifact did the maker of {s} take as a model?",
            "the artifact on which {s} was modelled",
        ),
        Template(
            "found_beneath",
            "{s} lay buried beneath {o}.",
            "Beneath which artifact did {s} lie buried?",
            "Which artifact lay on top of {s} in the ground?",
            "the artifact beneath which {s} lay buried",
        ),
        Template(
            "contains_piece_of",
            "{s} contains a fragment of {o}.",
            "Of which artifact does {s} contain a fragment?",
            "Which artifact has lost a fragment that is now part of {s}?",
            "the artifact of which {s} contains a fragment",
        ),
    ),
    "Species": (
        Template(
            "decorated_with",
            "{s} is decorated with an image of {o}.",
            "With an image of which species is {s} decorated?",
            "Which species is pictured on {s}?",
            "the species pictured on {s}",
        ),
        Template(
            "dye_from",
            "The dye used on {s} was obtained from {o}.",
            "From which species was the dye used on {s} obtained?",
            "Which species was the source of the dye used on {s}?",
            "the species from which the dye used on {s} was obtained",
        ),
        Template(
            "frightens",
            "{s} is said to frighten away {o}.",
            "Which species is {s} said to frighten away?",
            "Which species is said to flee from {s}?",
            "the species that {s} is said to frighten away",
        ),
    ),
    "Discipline": (
        Template(
            "studied_in",
            "{s} is studied mainly by scholars of {o}.",
            "In which discipline do the scholars work who mainly study {s}?",
            "Which discipline takes the greatest interest in {s}?",
            "the discipline whose scholars mainly study {s}",
        ),
        Template(
            "refuted_theory_of",
            "The discovery of {s} refuted a theory of {o}.",
            "A theory of which discipline was refuted by the discovery of {s}?",
            "Which discipline had to give up a theory after the discovery of {s}?",
            "the discipline that lost a theory to the discovery of {s}",
        ),
        Template(
            "used_to_teach",
            "{s} was once used for teaching {o}.",
            "Which discipline was once taught with {s}?",
            "For teaching which discipline was {s} once used?",
            "the discipline that was once taught with {s}",
        ),
    ),
}
