"""The letters, digits and punctuation of a text as its symbols. Needs no further package."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.config import option
from .numbers import check_language, spell_numbers
from .symbols import SymbolConditioner, SymbolConfig

ALPHABET = " abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-&%$+/"
# typographic symbols that Unicode does not decompose: quotation marks, dashes, and Spanish marks before a sentence
PLAIN = {
    **dict.fromkeys([*range(0x2018, 0x201C), 0x2039, 0x203A], "'"),
    **dict.fromkeys([*range(0x201C, 0x2020), 0x00AB, 0x00BB], '"'),
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-"),
    0x00BF: "?",
    0x00A1: "!",
}
SILENT = frozenset({"Mn", "Mc", "Me", "Cf"})  # categories of Unicode: marks and format characters


@dataclass(frozen=True, kw_only=True)
class CharacterConfig(SymbolConfig):
    """The alphabet of characters, and the encoder's sizes."""

    alphabet: str = option(ALPHABET, "Characters that differ from each other, in lower case; any other one is unknown.")
    numbers: str | None = option(
        None, "Language in which numbers are read as words, a code of num2words such as en; by default digits stay."
    )


class CharacterConditioner(SymbolConditioner):
    """Reads the characters of a text, in lower case.

    A character outside the alphabet is decomposed (é is e, ½ is 1/2); if that does not lead into the alphabet, it is an
    unknown symbol.
    """

    config_class = CharacterConfig
    config: CharacterConfig

    def __init__(self, width: int, config: CharacterConfig):
        super().__init__(width, config)
        if config.numbers is not None:
            check_language(config.numbers)

    def symbols(self, texts: Sequence[str]) -> list[str]:
        language = self.config.numbers
        if language is not None:
            texts = [spell_numbers(text, language) for text in texts]
        return [plain_characters(text, self.config.alphabet) for text in texts]


def plain_characters(text: str, alphabet: str) -> str:
    """Returns a text in lower case, with single spaces, in characters of the alphabet where it can be written in them.

    Args:
        text: in any script.
        alphabet: characters that stay as they are.
    """
    plain = []
    for character in " ".join(text.casefold().split()):
        parts = unicodedata.normalize("NFKD", character.translate(PLAIN)).casefold().replace("\u2044", "/")
        # marks such as accents have no sound of their own, and format characters have none at all
        sounding = "".join(part for part in parts if unicodedata.category(part) not in SILENT)
        if character in alphabet or not all(part in alphabet for part in sounding):
            plain.append(character)
        else:
            plain.append(sounding)
    return " ".join("".join(plain).split())
