"""Texts as people have them: split into words letter for letter, spelled as the model can, read as spoken."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_ottc.alignment.text import (
    GAP,
    NOBODY,
    WILDCARD,
    Alphabet,
    Speller,
    label_text,
    owners_of,
    split_words,
)

UPPER = Alphabet(frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ'"))
LOWER = Alphabet(frozenset("abcdefghijklmnopqrstuvwxyz"))
CASED = Alphabet(frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ’,-0123456789"))
NUMBER = {letter: number for number, letter in enumerate("|ABCDEFGHIJKLMNOPQRSTUVWXYZ'")}


def spoken(word: str, alphabet: Alphabet = UPPER, language: str = "en") -> str:
    return " ".join(Speller(alphabet, language).spell(word).spoken).replace(WILDCARD, "*")


@given(st.text())
def test_words_are_the_text_letter_for_letter(text: str) -> None:
    words = split_words(text)
    assert [text[word.start : word.end] for word in words] == [word.text for word in words]
    seen = (run for run in text.split() if any(unicodedata.category(one) != "Cf" for one in run))
    assert "".join(word.text for word in words) == "".join(seen)
    assert [word.sentence for word in words] == sorted(word.sentence for word in words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello,  world", ["Hello,", "world"]),
        ("你好。Python 3", ["你", "好。", "Python", "3"]),
        ("「はい」", ["「は", "い」"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("3\u202f000,50 €", ["3\u202f000,50", "€"]),
        ("a\u00a0b", ["a", "b"]),
        ("שלום עולם", ["שלום", "עולם"]),
    ],
)
def test_scripts_without_spaces_have_a_word_for_each_character(text: str, words: list[str]) -> None:
    assert [word.text for word in split_words(text)] == words


def test_sentences_end_at_marks_and_at_line_ends() -> None:
    words = split_words("One two. Three?\nfour “five!” six\n\nseven")
    assert [word.sentence for word in words] == [0, 0, 1, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("hello", "HELLO"),
        ("Hello,", "HELLO"),
        ("don’t", "DON'T"),
        ("well-known", "WELL KNOWN"),
        ("cafe\u0301", "CAFE"),
        ("caf\u00e9", "CAFE"),
        ("stra\u00dfe", "STRASSE"),
        ("Łódź", "LODZ"),
        ("ﬁne", "FINE"),
        ("ﾍｌｌｏ", "*LLO"),
        ("AT&T", "AT AND T"),
        ("zero\u200bwidth", "ZEROWIDTH"),
        ("Привет", "*"),
        ("שלום", "*"),
        ("你", "*"),
        ("🎉", "*"),
        ("-", "*"),
    ],
)
def test_words_are_spelled_with_the_letters_that_the_model_has(word: str, right: str) -> None:
    assert spoken(word) == right


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("3", "three"),
        ("$3,000.50", "three thousand dollars and fifty cents"),
        ("£1", "one pound"),
        ("$2M", "two million dollars"),
        ("99¢", "ninety nine cents"),
        ("1999", "nineteen ninety nine"),
        ("3,000", "three thousand"),
        ("(42).", "forty two"),
        ("-5", "minus five"),
        ("3.25", "three point two five"),
        ("007", "zero zero seven"),
        ("555-1234", "five five five one two three four"),
        ("1914-1918", "nineteen fourteen nineteen eighteen"),
        ("1st", "first"),
        ("1990s", "nineteen nineties"),
        ("10:30", "ten thirty"),
        ("10:05pm", "ten oh five p m"),
        ("5%", "five percent"),
        ("5km/h", "five kilometers per hour"),
        ("½", "one half"),
        ("2024-12-25", "december twenty fifth twenty twenty four"),
        ("12/25/2024", "december twenty fifth twenty twenty four"),
        ("B2B", "b two b"),
        ("٣", "three"),
        ("£1.50", "one pound and fifty pence"),
        ("£1,234.05", "one thousand two hundred and thirty four pounds and five pence"),
        ("€2", "two euros"),
        ("€3,000.50", "three thousand euros and fifty cents"),
        ("€0.50", "fifty cents"),
        ("-$5", "minus five dollars"),
        ("$2.5M", "two point five million dollars"),
        ("CHF5.20", "five francs twenty"),
        ("¥150", "one hundred and fifty yen"),
        ("R$5", "five reais"),
        ("5m²", "five square meters"),
        ("1/2", "one half"),
        ("3/4", "three quarters"),
        ("2½", "two and one half"),
        ("-3/4", "minus three quarters"),
        ("$1.00", "one dollar"),
        ("5–10%", "five ten percent"),
        ("5€/kg", "five euros kg"),
        ("24/7", "twenty four seven"),
        ("5'10\"", "five feet ten inches"),
        ("1'000", "one thousand"),
        ("+3", "plus three"),
        ("+49-555-1234", "plus four nine five five five one two three four"),
        ("1.2.3.4", "one point two point three point four"),
        ("31/02/2024", "thirty one zero two twenty twenty four"),
        ("29/02/2024", "february twenty ninth twenty twenty four"),
        ("10am", "ten a m"),
        ("10p.m.", "ten p m"),
    ],
)
def test_numbers_are_read_as_spoken_in_english(word: str, right: str) -> None:
    assert spoken(word, LOWER) == right


@pytest.mark.parametrize(
    ("language", "word", "right"),
    [
        ("de", "3.000,50€", "dreitausend euro funfzig cent"),
        ("de", "25.12.2024", "funfundzwanzigste dezember zweitausendvierundzwanzig"),
        ("de", "3.", "dritte"),
        ("fr", "3\u202f000", "trois mille"),
        ("fr", "10h30", "dix heures trente"),
        ("fr", "80%", "quatre vingts pour cent"),
        ("es", "25/12/2024", "veinticinco de diciembre de dos mil veinticuatro"),
        ("it", "3,25", "tre virgola due cinque"),
        ("pt-BR", "3", "tres"),
        ("en-GB", "£1.50", "one pound and fifty pence"),
        ("de", "1€", "ein euro"),
        ("de", "0,50€", "funfzig cent"),
        ("de", "£1.50", "ein pfund funfzig pence"),
        ("de", "3/4", "drei viertel"),
        ("de", "½", "ein halb"),
        ("de", "1.2.3.4", "eins punkt zwei punkt drei punkt vier"),
        ("fr", "2,50€", "deux euros cinquante centimes"),
        ("fr", "3/4", "trois quarts"),
        ("es", "1€", "un euro"),
        ("es", "$2.50", "dos dolares cincuenta centavos"),
        ("es", "+3", "mas tres"),
        ("it", "3/4", "tre su quattro"),
        ("vi", "1999", "mot nghin chin tram chin muoi chin"),  # num2words has no years in it
        ("am", "-2", "*"),  # it fails there
        ("zh", "3", "*"),  # num2words has no Chinese
        # Codes of MMS; num2words would take the language whose code begins so: Spanish, Slovenian, Finnish.
        ("deu", "3.000,50€", "dreitausend euro funfzig cent"),
        ("por", "3,25", "tres virgula dois cinco"),
        ("est", "3", "*"),
        ("slk", "3", "tri"),
        ("fil", "3", "*"),
        ("DE", "3", "drei"),
    ],
)
def test_numbers_are_read_in_the_language(language: str, word: str, right: str) -> None:
    assert spoken(word, LOWER, language) == right


def said(text: str, language: str = "en") -> str:
    words = Speller(LOWER, language).spell_text(text)
    assert [word.given for word in words] == text.split()
    return " | ".join(" ".join(word.spoken) for word in words).replace(WILDCARD, "*")


@pytest.mark.parametrize(
    ("language", "text", "right"),
    [
        ("en", "5 %", "five | percent"),
        ("en", "5\u202f%", "five | percent"),
        ("en", "5–10 %.", "five ten | percent"),
        ("en", "(5 km)", "five | kilometers"),
        ("en", "a 5 km/h b", "a | five | kilometers per hour | b"),
        ("en", "5 m²", "five | square meters"),
        ("en", "-5 °C", "minus five | degrees celsius"),
        ("en", "5 EUR", "five | euros"),
        ("en", "CHF 5.20", "five | francs twenty"),
        ("en", "$ 5 $ 6", "five | dollars | six | dollars"),
        ("en", "$3.5 million", "three point five | million dollars"),
        (
            "en",
            "1 234,56 €",
            "one thousand two hundred | and thirty four euros and fifty six | cents",
        ),
        ("en", "10 am 10:05 PM", "ten | a m | ten oh five | p m"),
        ("en", "½ km", "one half | kilometers"),
        ("de", "10:30 Uhr", "zehn | uhr dreissig"),
        ("de", "10 Uhr", "zehn | uhr"),
        ("de", "21 %", "einundzwanzig | prozent"),
        ("de", "3.000,50 €", "dreitausend euro funfzig | cent"),
        ("de", "1 000 €", "einta | usend | euro"),
        ("fr", "21 %", "vingt et un | pour cent"),
        ("fr", "1 234,56\u00a0€", "mille deux cent | trente quatre euros cinquante six | centimes"),
        ("fr", "10 000 mots", "dix | mille | mots"),
        ("es", "21 %", "veintiuno | por ciento"),
        ("pt-BR", "R$ 5,00", "cinco | reais"),
        ("pt-BR", "R$ 5,50", "cinco | reais cinquenta"),
        ("zh", "5 km", "* | *"),  # neither a number nor a unit in Latin letters
    ],
)
def test_a_number_and_its_sign_are_one_across_spaces(language: str, text: str, right: str) -> None:
    assert said(text, language) == right


def test_words_beside_numbers_that_are_no_units_stay_as_they_are() -> None:
    assert said("I have 5, km and 5. kg") == "i | have | five | km | and | five | kg"
    assert said("call 1 800 555") == "call | one | eight hundred | five hundred and fifty five"
    assert said("I am in km") == "i | am | in | km"


def test_a_sign_alone_has_its_name() -> None:
    assert said("the € and 5 or % but -") == "the | euro | and | five | or | percent | but | *"
    assert (
        said("€ %", "quy") == "* | *"
    )  # Babel has no such language, and English is none of its own
    assert spoken("%", Alphabet(frozenset("abc%"))) == "%"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("yes [laughter], no", "yes | * | no"),
        ("<eps> sil <unk> [5]", "* | sil | * | *"),
        ("a [background noise] b", "a | * | * | b"),
        ("go[noise] <i>home</i> now", "go | home | now"),
        ("(noise) [sic a < b > c", "noise | sic | a | * | b | * | c"),
        ("[5 km] 5 km", "* | * | five | kilometers"),
    ],
)
def test_notes_of_transcripts_are_wildcards(text: str, right: str) -> None:
    assert said(text) == right


def test_notes_that_a_model_knows_as_words_stay() -> None:
    words = Alphabet(frozenset(), frozenset({"[noise]", "LAUGHTER"}))
    assert spoken("[noise]", words) == "[noise]"
    assert spoken("[laughter]", words) == "*"
    letters = Alphabet(frozenset("abcdefghijklmnopqrstuvwxyz[]"))
    assert Speller(letters, notes=frozenset({"[noise]"})).spell("[noise]").spoken == ("[noise]",)
    assert spoken("[noise]", letters) == "*"


def test_what_nobody_sees_is_no_word() -> None:
    words = split_words("One.\u200b\n\u200b two \ufeff three\u2060")
    assert [word.text for word in words] == ["One.\u200b", "two", "three\u2060"]
    assert split_words("\u200b \u200e") == []


def test_what_the_alphabet_has_stays_as_it_is() -> None:
    assert spoken("Well-known,", CASED) == "Well-known,"
    assert spoken("1999", CASED) == "1999"
    assert spoken("don't", CASED) == "don’t"


def test_turkish_letters_change_case_as_in_turkish() -> None:
    letters = Alphabet(frozenset("ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ"))
    assert spoken("istanbul", letters, "tr") == "İSTANBUL"
    assert spoken("ılık", letters, "tr") == "ILIK"


def test_romanisation_comes_before_the_wildcard() -> None:
    speller = Speller(LOWER, "ru", romanize={"Привет": "privet"}.__getitem__)
    assert speller.spell("Привет").spoken == ("privet",)


def test_models_of_words_take_whole_words() -> None:
    words = Alphabet(frozenset(), frozenset({"HELLO", "<unk>"}))
    assert spoken("hello,", words) == "HELLO"
    assert spoken("bye", words) == "*"


def test_labels_know_whose_they_are_and_survive_inserted_blanks() -> None:
    speller = Speller(UPPER)
    words = [speller.spell(word) for word in ("All", "你", "3-D", "x你y")]

    def encode(word: str) -> list[int]:
        return [NUMBER[letter] for letter in word]

    text = label_text(words, encode, wildcard=99, separator=0, gaps=True)
    symbols = {number: letter for letter, number in NUMBER.items()} | {99: "*"}
    assert "".join(symbols[token] for token in text.tokens) == "*|ALL|*|THREE|D|X*Y|*"
    assert text.owners[0] == text.owners[-1] == GAP
    assert text.owners[1] == NOBODY
    assert [text.owners.count(index) for index in range(4)] == [3, 1, 6, 3]
    aligned: list[int] = [0]  # a boundary label at each end, a blank (100) between equal neighbours
    for token in text.tokens:
        aligned += [100, token] if aligned[-1] == token else [token]
    aligned.append(0)
    owners = owners_of(aligned, text)
    assert [owner for owner, token in zip(owners, aligned, strict=True) if owner >= 0] == [
        owner for owner in text.owners if owner >= 0
    ]
    with pytest.raises(ValueError, match="must hold those of the text"):
        owners_of(aligned[:5], text)


def test_a_word_that_is_said_often_is_encoded_once() -> None:
    speller, asked = Speller(UPPER), []
    words = [speller.spell(word) for word in ("All", "fall", "All", "all")]
    text = label_text(words, lambda word: asked.append(word) or [1, 2], wildcard=99)
    assert asked == ["ALL", "FALL"]
    assert text.tokens == (1, 2) * 4
    assert text.owners == (0, 0, 1, 1, 2, 2, 3, 3)


def test_gaps_stand_between_sentences_and_at_the_ends_alone() -> None:
    words = [Speller(UPPER).spell("A", sentence) for sentence in (0, 0, 1)]
    text = label_text(words, lambda word: [NUMBER[word]], wildcard=99, separator=None, gaps=True)
    assert text.tokens == (99, 1, 1, 99, 1, 99)


def test_unknown_pieces_become_the_wildcard() -> None:
    word = Speller(UPPER).spell("AB")
    assert label_text([word], lambda _: [7, 1, 1, 8], wildcard=99, unknown=1).tokens == (7, 99, 8)
