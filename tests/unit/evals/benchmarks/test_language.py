"""The thirty languages that IFEval asks for, each told from the others on two sentences."""

import pytest

from nemo_mixsd.evals.benchmarks.language import detect_language

TEXTS = {
    "en": "The river is long and it runs to the sea. We walked there with our friends.",
    "es": "El río es largo y llega hasta el mar. Fuimos allí con nuestros amigos por la mañana.",
    "pt": "O rio é longo e chega até ao mar. Fomos lá com os nossos amigos e não choveu.",
    "fr": "La rivière est longue et elle va jusqu'à la mer. Nous y sommes allés avec des amis.",
    "de": "Der Fluss ist lang und er fließt in das Meer. Wir sind mit Freunden dorthin gegangen.",
    "it": "Il fiume è lungo e arriva fino al mare. Siamo andati con gli amici e non pioveva più.",
    "pl": "Rzeka jest długa i płynie do morza. Poszliśmy tam z przyjaciółmi, ale nie padało.",
    "vi": "Con sông rất dài và chảy ra biển. Chúng tôi đã đi đến đó với những người bạn.",
    "sw": "Mto ni mrefu na unafika baharini. Tulienda huko na marafiki kwa gari ya baba.",
    "fi": "Joki on pitkä ja se virtaa mereen. Me menimme sinne ystävien kanssa, mutta ei satanut.",
    "ru": "Река длинная, и она течёт в море. Мы пошли туда с друзьями, но дождя не было.",
    "uk": "Річка довга, і вона тече до моря. Ми пішли туди з друзями, але дощу не було.",
    "bg": "Реката е дълга и се влива в морето. Отидохме там с приятели, но не валеше дъжд.",
    "ar": "النهر طويل وهو يصل إلى البحر. ذهبنا إلى هناك مع أصدقاء من المدينة.",
    "fa": "رودخانه طولانی است و به دریا می‌رسد. ما با دوستان به آنجا رفتیم که باران نبود.",
    "ur": "دریا لمبا ہے اور سمندر تک جاتا ہے۔ ہم دوستوں کے ساتھ وہاں گئے۔",
    "hi": "नदी लंबी है और यह समुद्र तक जाती है। हम दोस्तों के साथ वहाँ गए थे।",
    "mr": "नदी लांब आहे आणि ती समुद्राला मिळते. आम्ही मित्रांसोबत तिथे गेलो होतो.",
    "ne": "नदी लामो छ र यो समुद्रसम्म पुग्छ। हामी साथीहरूसँग त्यहाँ गएको थियो।",
    "he": "הנהר ארוך והוא מגיע עד הים. הלכנו לשם עם חברים.",
    "th": "แม่น้ำยาวและไหลลงสู่ทะเล เราไปที่นั่นกับเพื่อน",
    "bn": "নদীটি দীর্ঘ এবং সমুদ্রে যায়। আমরা বন্ধুদের সাথে সেখানে গিয়েছিলাম।",
    "ta": "ஆறு நீளமானது, அது கடலுக்குச் செல்கிறது.",
    "te": "నది పొడవైనది మరియు సముద్రానికి చేరుతుంది.",
    "kn": "ನದಿ ಉದ್ದವಾಗಿದೆ ಮತ್ತು ಸಮುದ್ರವನ್ನು ಸೇರುತ್ತದೆ.",
    "gu": "નદી લાંબી છે અને તે સમુદ્ર સુધી જાય છે.",
    "pa": "ਨਦੀ ਲੰਬੀ ਹੈ ਅਤੇ ਸਮੁੰਦਰ ਤੱਕ ਜਾਂਦੀ ਹੈ।",
    "ml": "നദി നീളമുള്ളതാണ്, അത് കടലിലേക്ക് ഒഴുകുന്നു.",
    "ko": "강은 길고 바다로 흐릅니다. 우리는 친구들과 함께 갔습니다.",
    "ja": "川は長く、海に流れます。私たちは友達とそこへ行きました。",
}


@pytest.mark.parametrize("language", TEXTS)
def test_language(language):
    assert detect_language(TEXTS[language]) == language


@pytest.mark.parametrize("text", ["", "123 + 4", "!?"])
def test_no_letters_no_language(text):
    assert detect_language(text) is None


def test_case_does_not_matter():
    assert detect_language(TEXTS["en"].upper()) == "en"
    assert detect_language(TEXTS["de"].upper()) == "de"


def test_a_foreign_name_does_not_change_the_language():
    assert detect_language(TEXTS["ru"] + " OpenAI and GPT") == "ru"
    assert detect_language(TEXTS["ja"] + " Tokyo Tower") == "ja"
