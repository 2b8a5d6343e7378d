"""What the base model is asked to write about when its own text serves as ordinary text."""

from __future__ import annotations

from typing import Final

TOPICS: Final = (
    "rivers", "bread", "bicycles", "volcanoes", "libraries", "honey bees", "the moon", "chess", "glass", "trains",
    "the heart", "deserts", "coffee", "opera", "whales", "paper money", "bridges", "electric motors", "tea", "maps",
    "the Roman Empire", "potatoes", "jazz", "glaciers", "antibiotics", "cats", "the printing press", "salt", "clocks",
    "football", "soil", "parliaments", "the compass", "wool", "tides", "photography", "rice", "satellites", "gardens",
    "the nervous system", "castles", "insurance", "steel", "dictionaries", "forests", "submarines", "soap", "taxes",
    "dreams", "cheese", "earthquakes", "concrete", "museums", "horses", "prime numbers", "the Silk Road", "batteries",
    "lighthouses", "elections", "spices", "penguins", "plastic", "universities", "comets",
)  # fmt: skip
"""Everyday nouns from many fields."""

FORMS: Final = (
    "Write a paragraph about {topic} for an encyclopedia.",
    "Which facts about {topic} are worth knowing?",
    "How did people come to use or study {topic}?",
    "Tell a very short story in which {topic} matter.",
    "Give an example sentence with {topic} and say what it means.",
    "A pupil asks you about {topic}. What do you answer?",
)
"""The user messages, one for each pair of form and topic."""
