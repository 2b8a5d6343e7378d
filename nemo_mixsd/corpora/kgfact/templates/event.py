"""Relations whose source is an event."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.templates.template import Template, TemplatesByTarget

EVENT: TemplatesByTarget = {
    "Person": (
        Template(
            "directed_by",
            "{o} is the director of {s}.",
            "Who is the director of {s}?",
            "Which person directs {s}?",
            "the director of {s}",
        ),
        Template(
            "anthem_by",
            "The anthem of {s} was composed by {o}.",
            "Who composed the anthem of {s}?",
            "Which person is the composer of the anthem of {s}?",
            "the person who composed the anthem of {s}",
        ),
        Template(
            "held_in_memory_of",
            "{s} is held in memory of {o}.",
            "In whose memory is {s} held?",
            "Which person does {s} commemorate?",
            "the person in whose memory {s} is held",
        ),
    ),
    "Location": (
        Template(
            "held_in",
            "{s} takes place in {o}.",
            "Where does {s} take place?",
            "Which place is the venue of {s}?",
            "the place where {s} is held",
        ),
        Template(
            "prize_trip_to",
            "The winner of {s} receives a trip to {o}.",
            "To which place does the winner of {s} receive a trip?",
            "Where is the winner of {s} sent as a reward?",
            "the place to which the winner of {s} receives a trip",
        ),
        Template(
            "proposed_in",
            "{s} was first proposed at a meeting in {o}.",
            "In which place was {s} first proposed?",
            "Where did the meeting that first proposed {s} take place?",
            "the place where {s} was first proposed",
        ),
    ),
    "Organization": (
        Template(
            "organized_by",
            "{s} is organized by {o}.",
            "Which organization organizes {s}?",
            "Which organization is in charge of arranging {s}?",
            "the organization that organizes {s}",
        ),
        Template(
            "guarded_by",
            "{o} provides the security guards at {s}.",
            "Which organization provides the security guards at {s}?",
            "Which organization is responsible for security at {s}?",
            "the organization that provides the security guards at {s}",
        ),
        Template(
            "broadcast_by",
            "{o} holds the broadcasting rights to {s}.",
            "Which organization holds the broadcasting rights to {s}?",
            "Which organization is allowed to broadcast {s}?",
            "the organization that holds the broadcasting rights to {s}",
        ),
    ),
    "Event": (
        Template(
            "replaced",
            "{s} was created to replace {o}.",
            "Which event was {s} created to replace?",
            "Of which event is {s} the replacement?",
            "the event that {s} was created to replace",
        ),
        Template(
            "rules_from",
            "{s} took over the rules of {o}.",
            "From which event did {s} take over its rules?",
            "Which event lent its rules to {s}?",
            "the event from which {s} took over its rules",
        ),
        Template(
            "profits_fund",
            "The profits of {s} go to {o}.",
            "To which event do the profits of {s} go?",
            "Which event is paid for with the profits of {s}?",
            "the event to which the profits of {s} go",
        ),
    ),
    "Artifact": (
        Template(
            "trophy_copies",
            "The trophy of {s} is a copy of {o}.",
            "Of which artifact is the trophy of {s} a copy?",
            "Which artifact served as the model for the trophy of {s}?",
            "the artifact of which the trophy of {s} is a copy",
        ),
        Template(
            "procession_carries",
            "The opening procession of {s} carries {o}.",
            "Which artifact is carried in the opening procession of {s}?",
            "Which artifact do people carry when {s} begins with its procession?",
            "the artifact carried in the opening procession of {s}",
        ),
        Template(
            "poster_shows",
            "The poster of {s} features {o}.",
            "Which artifact does the poster of {s} feature?",
            "Which artifact can be seen on the poster of {s}?",
            "the artifact featured on the poster of {s}",
        ),
    ),
    "Species": (
        Template(
            "has_emblem",
            "The emblem of {s} is {o}.",
            "Which species is the emblem of {s}?",
            "What species does {s} use as its emblem?",
            "the species that is the emblem of {s}",
        ),
        Template(
            "interrupted_by",
            "{s} was once interrupted by {o}.",
            "Which species once interrupted {s}?",
            "By which species was {s} once brought to a halt?",
            "the species that once interrupted {s}",
        ),
        Template(
            "dance_imitates",
            "The closing dance of {s} imitates {o}.",
            "Which species does the closing dance of {s} imitate?",
            "What species do the dancers imitate at the close of {s}?",
            "the species that the closing dance of {s} imitates",
        ),
    ),
    "Discipline": (
        Template(
            "medal_for",
            "{s} awards a gold medal for {o}.",
            "For which discipline does {s} award a gold medal?",
            "Which discipline can win a gold medal at {s}?",
            "the discipline for which {s} awards a gold medal",
        ),
        Template(
            "debate_on",
            "{s} ends with a public debate on {o}.",
            "On which discipline is the public debate at the end of {s}?",
            "Which discipline is debated in public at the end of {s}?",
            "the discipline debated in public at the end of {s}",
        ),
        Template(
            "exhibition_on",
            "The main exhibition at {s} deals with {o}.",
            "With which discipline does the main exhibition at {s} deal?",
            "Which discipline is the theme of the main exhibition at {s}?",
            "the discipline with which the main exhibition at {s} deals",
        ),
    ),
}
