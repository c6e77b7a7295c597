"""Numbers of a transcript as words."""

import sys

import pytest
import torch

from latentune.core.errors import MissingPackageError
from latentune.generators.conditioning.characters import CharacterConditioner, CharacterConfig
from latentune.generators.conditioning.numbers import LONGEST, spell_numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I have 3 cats.", "I have three cats."),
        ("0 or 1?", "zero or one?"),
        ("1,200 and 1200", "one thousand, two hundred and one thousand, two hundred"),
        ("3.14, then 5.", "three point one four, then five."),
        ("the 2nd, the 21ST", "the second, the twenty-first"),
        ("(7)", "(seven)"),
        ("007", "zero zero seven"),
        ("-4%", "-four%"),
        ("mp3, 10km, b2b", "mp three, ten km, b two b"),
        ("1.2.3 and 1,2,3", "one point two.three and one,two,three"),
        ("no number", "no number"),
        ("", ""),
    ],
)
def test_numbers_are_words(text: str, words: str) -> None:
    assert spell_numbers(text, "en") == words


def test_a_number_too_long_to_be_one_is_read_digit_by_digit() -> None:
    assert spell_numbers("1" * (LONGEST + 1), "en") == " ".join(["one"] * (LONGEST + 1))
    assert "million" in spell_numbers("1" * LONGEST, "en")


def test_another_language_has_its_own_words() -> None:
    assert spell_numbers("21", "de") == "einundzwanzig"


def test_a_condition_reads_a_number_as_its_words() -> None:
    torch.manual_seed(0)
    reads_words = CharacterConditioner(16, CharacterConfig(numbers="en"))
    assert reads_words.symbols(["Room 12"]) == ["room twelve"]
    assert torch.equal(reads_words.prepare(["12"])["symbols"], reads_words.prepare(["twelve"])["symbols"])
    assert CharacterConditioner(16, CharacterConfig()).symbols(["Room 12"]) == ["room 12"]


def test_an_unknown_language_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no words for numbers in 'pt-BR'.*pt_BR"):
        CharacterConditioner(16, CharacterConfig(numbers="pt-BR"))


def test_without_num2words_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(MissingPackageError, match="num2words"):
        CharacterConditioner(16, CharacterConfig(numbers="en"))
