"""The language of a text: which codes are taken, and who says it."""

import json
from pathlib import Path
from typing import Any

import pytest
from letters_model import LettersModel, write_spoken

from espnet_ottc.aligner import aligner as module
from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.alignment.text import Alphabet, check_language
from espnet_ottc.bin.align import main


class EveryLetterModel(LettersModel):
    """Spells all numbers."""

    alphabet = Alphabet(frozenset("abcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize(
    "code", ["en", "DE", "pt-BR", "pt_BR", "sr-Latn", "deu", "est", "quy", "iw"]
)
def test_codes_of_languages_are_taken(code: str) -> None:
    check_language(code)
    assert AlignerOptions(language=code).text_language == code


@pytest.mark.parametrize("other", ["", "xx", "e", "en us", "germanic", "1", "deutsch-DE"])
def test_what_is_no_code_of_a_language_is_refused(other: str) -> None:
    with pytest.raises(ValueError, match=r"must be a code as en, de, pt-BR .*; got "):
        AlignerOptions(language=other)


def test_the_command_refuses_the_name_of_a_language_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spoken(tmp_path, 1)
    command = [str(tmp_path), "--model", "letters:x", "--language", "english"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "got 'english'; english is en" in error
    assert len(error.strip().splitlines()) == 1


def test_the_language_counts_for_the_model_and_for_its_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(*_: object, language: str | None, **__: Any) -> LettersModel:
        asked.append(language)
        return EveryLetterModel()

    monkeypatch.setattr(module, "load_model", load)

    def said(name: str = "letters:x", **given: Any) -> str:
        return Aligner.from_pretrained(name, **given).speller.spell("3").spoken[0]

    assert said() == "three"
    assert said(language="de") == "drei"
    assert said(options=AlignerOptions(vad=False), language="de") == "drei"
    assert said(options=AlignerOptions(language="fr"), language="de") == "trois"
    (tmp_path / "tuned_model.json").write_text(json.dumps({"model": "letters:x", "language": "es"}))
    assert said(str(tmp_path)) == "tres"
    assert said(str(tmp_path), language="de") == "drei"
    assert asked == [None, "de", "de", "de", "es", "de"]
