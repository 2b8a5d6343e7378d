"""Invented names: an index is written in syllables, so that no two names are equal and none contains another.

A name is two words with one space. If one name were part of another, its second word would be a prefix of the other's
second word, and its first word a suffix of the other's first word. The syllables rule that out:

- second words (nouns of all domains, and surnames) form a prefix code, so the second words would be equal, and with
  them the domains;
- within a domain the first words have a fixed number of syllables, and the syllables of each position form a suffix
  code, so the first words would be equal too.

Both rules hold for lower case as well. The unit tests check the tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from nemo_mixsd.corpora.kgfact.permutation import KeyedPermutation

Syllables = tuple[str, ...]


def _syllables(text: str) -> Syllables:
    return tuple(text.split())


GIVEN_STARTS = _syllables(
    "Ilv Quor Tav Brel Zeph Melv Osk Ulm Fenn Jask Kess Lund Nev Pyrr Rhov Sever Thal Wyst Yld Xanth Dag Est Corv "
    "Hadr Irv Jun Vorn Ondr Petr Ruf Skal Tirz Ursk Vesp Wold Ayl Bast Cind Edr Gwenth"
)
GIVEN_ENDS = _syllables(
    "ane olin amir uvel ika ondre yth aro enne ivar obel usk eld isca oryn ayle umi ethan oza eska irel undo "
    "abeth oquin erra"
)
SURNAME_STARTS = _syllables(
    "Torr Quell Vask Marn Drev Osth Bramm Kelv Lorn Penh Rusk Sarv Tholl Ulv Wend Yarr Zand Hask Jarl Nord Fask Garr "
    "Crell Dunv Eskm Ilm Morv Prav Stolv Vint Ambr Obern Karst Lask Trosk Selk Gholl Brunv Tarq Wrolt"
)
SURNAME_ENDS = _syllables(
    "ith ander ovic umel aki esten ora ulin yard ewick osky amund elov irdan ach eford orin uset antz ivelle "
    "oque ebrand yss edal ukka"
)
STEM_STARTS = _syllables(
    "Quess Vandr Ost Therm Brask Cald Drov Fell Gorm Harv Ind Jesk Korv Lumm Mordr Neth Orb Pell Rond Sund Tarr Umbr "
    "Veld Wyr Yarm Zarn Ard Bex Crov Dresk Ephr Fjor Glav Hesp Isk Jund Kalv Lyth Mesk Norv"
)
STEM_MIDDLES = _syllables("am or ev il un av eth ock ul yr ib az om ag esh ut in erv und ask olm ep iv ax")
STEM_ENDS = _syllables(
    "ar une ell oth ane ick osk ey and umba ire esh orn ada ulan eck ona ist avel ente uth is emay oon"
)
ADJECTIVE_ENDS = _syllables("ic ian ine ese ean ist onal ary")


@dataclass(frozen=True, slots=True)
class NameScheme:
    """How the names of one domain are spelled.

    Attributes:
        first: Syllables of the first word, one table a position.
        second: Syllables of the second word; a single table for a plain noun.
    """

    first: tuple[Syllables, ...]
    second: tuple[Syllables, ...]

    @property
    def capacity(self) -> int:
        """How many different names there are."""
        product = 1
        for table in self.first + self.second:
            product *= len(table)
        return product

    def spell(self, number: int) -> str:
        """The name with this number, ``0 <= number < capacity``; different numbers give different names."""
        words: list[str] = []
        for tables in (self.first, self.second):
            word = ""
            for table in tables:
                number, digit = divmod(number, len(table))
                word += table[digit]
            words.append(word)
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Domain:
    """One type of entity.

    Attributes:
        name: Label of the type, used as ``Example.answer_type``.
        article: What running text puts before the name: ``"the "`` or nothing.
        scheme: How its names are spelled.
    """

    name: str
    article: str
    scheme: NameScheme


_STEM = (STEM_STARTS, STEM_MIDDLES, STEM_ENDS)


def _domain(name: str, article: str, nouns: str) -> Domain:
    return Domain(name, article, NameScheme(_STEM, (_syllables(nouns),)))


DOMAINS: tuple[Domain, ...] = (
    Domain("Person", "", NameScheme((GIVEN_STARTS, GIVEN_ENDS), (SURNAME_STARTS, SURNAME_ENDS))),
    _domain(
        "Location", "", "Reach Hollow Fen Moor Haven Ridge Vale Sound Ferry Crossing Strand Heath Mere Downs Quay Bluff"
    ),
    _domain(
        "Organization",
        "",
        "Holdings Partners Industries Laboratories Systems Foundry Mutual Logistics Dynamics Press Instruments "
        "Textiles Shipping Robotics Ceramics Brothers",
    ),
    _domain(
        "Event",
        "the ",
        "Biennale Congress Regatta Symposium Jubilee Tournament Pageant Summit Carnival Conclave Marathon Gala "
        "Rally Festival Exposition Derby",
    ),
    _domain(
        "Artifact",
        "the ",
        "Codex Lantern Tapestry Chalice Astrolabe Sceptre Tablet Mosaic Amulet Manuscript Diadem Harp Scroll Compass "
        "Goblet Mask",
    ),
    _domain(
        "Species",
        "the ",
        "Heron Marten Newt Gecko Lynx Finch Toad Otter Vole Moth Crane Tortoise Badger Ibex Wren Carp",
    ),
    Domain(
        "Discipline",
        "",
        NameScheme(
            (STEM_STARTS, STEM_MIDDLES, ADJECTIVE_ENDS),
            (
                _syllables(
                    "Geometry Hydraulics Linguistics Optics Botany Logic Metallurgy Acoustics Rhetoric Ethics "
                    "Mechanics Topology Genetics Astronomy Statistics Philology"
                ),
            ),
        ),
    ),
)
"""All domains in order; a graph with ``n`` domains has the first ``n``."""

NAME_CAPACITY = min(domain.scheme.capacity for domain in DOMAINS)
"""The most entities that every domain can name."""


class NameBook:
    """The names of one domain under one seed: index to name, one to one, with nothing stored.

    Args:
        domain: The type of entity.
        seed: ``corpus.seed``.
    """

    def __init__(self, domain: Domain, seed: int) -> None:
        self._scheme = domain.scheme
        self._order = KeyedPermutation(domain.scheme.capacity, "kgfact", seed, "names", domain.name)

    def name(self, index: int) -> str:
        """The name of the entity with this index in its domain."""
        return self._scheme.spell(self._order(index))
