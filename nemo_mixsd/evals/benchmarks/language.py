"""Which language a text is written in: by script, and within a script by letters and small words.

Knows the thirty languages that IFEval asks for. Deterministic, without a model; meant for whole responses, where one
language is asked for and used throughout, and not for single words or mixed text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

SCRIPTS = {
    "HANGUL": ("ko",),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "CJK": ("zh",),
    "THAI": ("th",),
    "BENGALI": ("bn",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "KANNADA": ("kn",),
    "GUJARATI": ("gu",),
    "GURMUKHI": ("pa",),
    "MALAYALAM": ("ml",),
    "HEBREW": ("he",),
    "GREEK": ("el",),
    "DEVANAGARI": ("hi", "mr", "ne"),
    "ARABIC": ("ar", "fa", "ur"),
    "CYRILLIC": ("ru", "uk", "bg"),
    "LATIN": ("en", "es", "pt", "fr", "de", "it", "pl", "vi", "sw", "fi", "nl"),
}
"""First word of a character's Unicode name, and the languages told apart within the script."""

MARKS = {
    "fa": ("پچژگکی", 1.0),
    "ur": ("ٹڈڑںھہے", 3.0),
    "ar": ("ةىيك", 1.0),
    "uk": ("іїєґ", 3.0),
    "ru": ("ыэё", 2.0),
    "bg": ("ъ", 2.0),
    "mr": ("ळ", 3.0),
    "de": ("äöüß", 0.5),
    "es": ("ñ¿¡", 2.0),
    "pt": ("ãõ", 2.0),
    "fr": ("èêœçùû", 1.0),
    "pl": ("ąęłśźżńć", 2.0),
    "vi": ("ăđơưạảấầẩậắằặẹẻếềểệịỉọỏốồổộớờởợụủứừửựỳỹ", 2.0),
    "fi": ("ä", 0.5),
}
"""Letters that speak for a language of its script, and how much each counts."""

WORDS = {
    "en": "the and of to in is that it for with as was are this be on you not have but from they which or an by at we",
    "es": "el los las de que y en un una por con para es del se no su al como más pero sus le lo está ser muy",
    "pt": "o os as de que e em um uma por com para é do da se não seu ao como mais mas dos das no na você são muito",
    "fr": "le la les de des et en un une que qui dans pour est au du se pas ce sur avec il elle nous vous sont mais",
    "de": "der die das und in zu den ist nicht von mit sich des auf für ein eine dem im als auch es an wird sind ich",
    "it": "il lo gli di che e un una per con è del della si non in sono come più ma anche le nel dei alla questo",
    "pl": "i w na z do się nie że to jest o jak po co ale za od przez dla są oraz może być tym który przy",
    "vi": "và của là có được cho trong một những các với không để người khi này đã từ về như đó bạn tôi",
    "sw": "na ya wa kwa ni katika za la kuwa hii cha kama yake pia au watu hilo huu vya sana mimi wewe yangu hiyo",
    "fi": "ja on ei se että oli mutta niin kuin hän ovat myös tai voi kun joka olla jos sen tämä mitä minä sinä",
    "nl": "de het een en van is dat niet op te voor met zijn er aan die ook als maar bij deze naar",
    "hi": "है हैं के का की में को से और यह नहीं पर कि एक हो था ने भी कर लिए आप",
    "mr": "आहे आहेत आणि च्या मध्ये हे या ते नाही ची होते तर हा ही आपण मी एक साठी म्हणून",
    "ne": "छ छन् र को मा लाई हो यो गर्न भएको पनि तपाईं हुन्छ गर्छ एक थियो छैन म हामी का लागि",
    "ru": "и в не на что с он как это по но из у за от так же для вы мы они был я к",
    "uk": "і в не на що з як це та до за від для але ви ми вони був у про є його",
    "bg": "и в не на че с се да от за по са е това като но ще вие аз който при до",
    "ar": "في من على أن إلى هذا التي الذي عن مع كان هو هي لا ما هذه أو كما",
    "fa": "در از به که این است را با برای آن یک های می شود و تا هم شما من",
    "ur": "کے کی میں ہے سے کا اور کو نہیں پر یہ ہیں ایک کہ نے بھی تھا آپ",
}
"""Frequent small words, a handful a language."""

_WORD_SETS = {language: frozenset(words.split()) for language, words in WORDS.items()}
_TOKEN = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f\u0900-\u097f]+[^\W\d_]*)*")


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code of the language of ``text``, or None if it holds no letters.

    Text in Latin letters without any known small word is taken for English.
    """
    text = unicodedata.normalize("NFC", text)
    counts = Counter(script for char in text if char.isalpha() and (script := _script(char)))
    if not counts:
        return None
    if counts["HIRAGANA"] + counts["KATAKANA"] > 0.1 * sum(counts.values()):
        return "ja"
    script = max(SCRIPTS, key=lambda name: counts[name])
    languages = SCRIPTS[script]
    if len(languages) == 1:
        return languages[0]
    tokens = _TOKEN.findall(text.lower())
    scores = {language: _score(language, text.lower(), tokens) for language in languages}
    return max(languages, key=lambda language: scores[language])  # the first named wins a tie


def _score(language: str, text: str, tokens: list[str]) -> float:
    letters, weight = MARKS.get(language, ("", 0.0))
    words = _WORD_SETS.get(language, frozenset())
    return sum(token in words for token in tokens) + weight * sum(char in letters for char in text)


def _script(char: str) -> str:
    name = unicodedata.name(char, "").split(" ", 1)[0]
    return name if name in SCRIPTS else ""
