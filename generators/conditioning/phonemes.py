"""The phonemes of a text as its symbols: IPA of espeak-ng, or texts that are IPA already.

Needs the extra `phonemes` and the program espeak-ng, unless `written` is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...core.config import option
from ...core.errors import MissingPackageError
from ...core.extras import import_extra
from .symbols import SymbolConditioner, SymbolConfig

PURPOSE = "a condition of kind phonemes"
REMEMBERED = 65_536  # texts whose phonemes are kept, so that one that comes again is not read again
ALPHABET = (
    " .,;:!?'\"()-"
    "abcdefghijklmnopqrstuvwxyz"
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃ"
    "ˈˌːˑʼʴʰʱʲʷˠˤ˞ᵻ̩̃"
)


@dataclass(frozen=True, kw_only=True)
class PhonemeConfig(SymbolConfig):
    """The language that texts are read in, and the encoder's sizes."""

    alphabet: str = option(ALPHABET, "Symbols of the IPA and punctuation; any other one is unknown.")
    language: str = option("en-us", "Language that espeak-ng reads the texts in, such as en-us, de or fr-fr.")
    written: bool = option(False, "Whether texts are phonemes already, such as those of a column of the dataset.")


class PhonemeConditioner(SymbolConditioner):
    """Reads a text aloud in IPA, punctuation and stress included."""

    config_class = PhonemeConfig
    config: PhonemeConfig

    def __init__(self, width: int, config: PhonemeConfig):
        super().__init__(width, config)
        self._remembered: dict[str, str] = {}

    def symbols(self, texts: Sequence[str]) -> list[str]:
        """Returns the phonemes of texts.

        Raises:
            MissingPackageError: phonemizer or espeak-ng is not installed.
            ValueError: espeak-ng does not have the language.
        """
        if self.config.written:
            return [" ".join(text.split()) for text in texts]
        unread = [text for text in dict.fromkeys(texts) if text.strip() and text not in self._remembered]
        if unread:
            if len(self._remembered) + len(unread) > REMEMBERED:
                self._remembered.clear()
            lines = [" ".join(text.split()) for text in unread]
            read = phonemizer_backend(self.config.language).phonemize(lines, strip=True)
            self._remembered.update(zip(unread, (" ".join(line.split()) for line in read), strict=True))
        return [self._remembered.get(text, "") for text in texts]


@cache
def phonemizer_backend(language: str) -> Any:
    """Returns espeak-ng, ready to read texts in a language.

    Args:
        language: as espeak-ng names it.

    Raises:
        MissingPackageError: phonemizer or espeak-ng is not installed.
        ValueError: espeak-ng does not have the language.
    """
    espeak = import_extra("phonemizer.backend", "phonemes", PURPOSE).EspeakBackend
    if not espeak.is_available():
        raise MissingPackageError(f"{PURPOSE} needs the program espeak-ng: apt install espeak-ng")
    if not espeak.is_supported_language(language):
        known = ", ".join(sorted(espeak.supported_languages()))
        raise ValueError(f"espeak-ng has no language {language!r}, its languages: {known}")
    return espeak(language, preserve_punctuation=True, with_stress=True, language_switch="remove-flags")
