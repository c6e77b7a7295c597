"""Numbers of a text as the words in which they are spoken."""

from __future__ import annotations

import re
from typing import Any

from ...core.config import nearest_hint
from ...core.extras import import_extra

# a number with its thousands in groups of three, or plain digits; decimals; an ordinal's ending in English
NUMBER = re.compile(r"(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(\.\d+)?(?:(st|nd|rd|th)(?!\w))?", re.IGNORECASE)
LONGEST = 15  # digits of a number that is read as one; a longer one, or one that begins with 0, is read digit by digit


def spell_numbers(text: str, language: str) -> str:
    """Returns a text whose numbers are words: 3 is "three", 1,200 "one thousand, two hundred", 2nd "second".

    Letters next to digits become words of their own: mp3 is "mp three".

    Args:
        text: any.
        language: a code of num2words, such as en, de or pt_BR.

    Raises:
        MissingPackageError: the text has a number, and num2words is not installed.
    """
    parts, end = [], 0
    for found in NUMBER.finditer(text):
        parts += [text[end : found.start()], _words(found, language)]
        end = found.end()
    parts.append(text[end:])
    spelled = parts[0]
    for part in parts[1:]:
        spelled += " " if spelled[-1:].isalpha() and part[:1].isalpha() else ""
        spelled += part
    return spelled


def check_language(language: str) -> None:
    """Refuses a language whose numbers num2words cannot write.

    Args:
        language: its code, such as en.

    Raises:
        MissingPackageError: num2words is not installed.
        ValueError: the language is unknown.
    """
    known = _num2words().CONVERTER_CLASSES
    if language not in known:
        raise ValueError(f"no words for numbers in {language!r}: {nearest_hint(language, sorted(known))}")


def _num2words() -> Any:
    return import_extra("num2words", extra=None, purpose="numbers as words")


def _words(found: re.Match[str], language: str) -> str:
    """The words of one number."""
    whole, decimals, ordinal = found.groups()
    say = _num2words().num2words
    digits = whole.replace(",", "")
    if len(digits) > LONGEST or (len(digits) > 1 and digits.startswith("0")):
        return " ".join(say(int(digit), lang=language) for digit in digits) + (decimals or "") + (ordinal or "")
    if ordinal and not decimals:
        return str(say(int(digits), to="ordinal", lang=language))
    return str(say(digits + (decimals or ""), lang=language)) + (ordinal or "")
