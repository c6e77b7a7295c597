"""A text cut into the pieces that are said one after the other: sentences, and parts of those that are too long."""
# ruff: noqa: RUF001 (the marks of other scripts are meant)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SENTENCE_PAUSE_S = 0.3  # of silence after a sentence
PARAGRAPH_PAUSE_S = 0.6  # after the last sentence of a paragraph
CLAUSE_PAUSE_S = 0.1  # after a part of a sentence that is too long to be said at once

# Marks that end a sentence: of scripts with spaces between words, and of those without.
SPACED_ENDS = ".!?…।॥؟۔։።။។"
UNSPACED_ENDS = "。！？．｡"
CLOSERS = "\"'”’»›)]}」』）】〉》"  # that may follow such a mark
CLAUSE_ENDS = (";:؛；：", ",،、，—–")  # from the strongest: places where a sentence is cut if it must be
# Abbreviations that a name or a number follows, in lower case and without their last full stop.
BEFORE_NAMES = (
    "mr mrs ms dr prof rev hon st sr jr gen col capt lt sgt gov sen rep pres mt ft no nr fig vol pp ch sec ed eds vs "
    "al approx dept est inc ltd co corp bros ave blvd rd cf viz e.g i.e u.s u.k u.n jan feb mar apr jun jul aug sep "
    "sept oct nov dec mon tue wed thu fri sat sun bzw z.b d.h ca hr fr dipl ing mme mlle sig sra dott"
)
ABBREVIATIONS = frozenset(BEFORE_NAMES.split())
END = re.compile(rf"[{re.escape(SPACED_ENDS + UNSPACED_ENDS)}]+[{re.escape(CLOSERS)}]*")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a text that is said at once."""

    text: str
    pause_s: float  # silence that follows it; 0 after the last piece


def pieces_of(text: str, fits: Callable[[str], bool] = lambda text: True) -> list[Piece]:
    """Returns a text in pieces, in order: all of its words are in one piece each.

    Paragraphs are separated by blank lines. A sentence ends at a mark such as `.`, `?` or `。` that a space and no
    small letter follows, except after abbreviations, initials and within numbers. One that does not fit is cut near its
    middle: at a semicolon or a colon, else at a comma or a dash, else between words, else between characters.

    Args:
        text: in any script; one without any letter or digit has no pieces.
        fits: whether a piece is short enough to be said at once. A single character always is.
    """
    found: list[Piece] = []
    for paragraph in re.split(r"\n\s*\n", text):
        parts = [part for part in _sentences(" ".join(paragraph.split())) if part]
        for sentence in _with_sound(parts):
            cut = list(_cut(sentence, fits))
            found += [Piece(text=part, pause_s=CLAUSE_PAUSE_S) for part in cut[:-1]]
            found.append(Piece(text=cut[-1], pause_s=SENTENCE_PAUSE_S))
        if found:
            found[-1] = Piece(text=found[-1].text, pause_s=PARAGRAPH_PAUSE_S)
    if found:
        found[-1] = Piece(text=found[-1].text, pause_s=0.0)
    return found


def has_sound(text: str) -> bool:
    """Returns whether a text holds a letter or a digit of any script."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def _sentences(text: str) -> Iterator[str]:
    """Yields the sentences of a paragraph with single spaces."""
    has_capitals = any(character.isupper() for character in text)
    start = 0
    for match in END.finditer(text):
        if _is_end(text, match, has_capitals):
            yield text[start : match.end()].strip()
            start = match.end()
    yield text[start:].strip()


def _is_end(text: str, match: re.Match[str], has_capitals: bool) -> bool:
    """Returns whether marks in a text end a sentence."""
    after = text[match.end() :]
    if not after or match[0][0] in UNSPACED_ENDS:
        return True
    if not after.startswith(" "):
        return False
    following = next((character for character in after if character.isalnum()), "")
    if has_capitals and following.islower():
        return False
    if match[0] != ".":
        return True
    word = text[: match.start()].rsplit(" ", 1)[-1].lstrip("\"'“‘«([{").lower()
    is_initial = len(word) == 1 and word.isalpha() and word != "i"
    return not (is_initial or word in ABBREVIATIONS)


def _with_sound(parts: list[str]) -> list[str]:
    """Returns sentences, of which those without a letter or digit are joined to the one before, or after it."""
    joined: list[str] = []
    silent = ""
    for part in parts:
        if has_sound(part):
            joined.append(f"{silent} {part}".strip())
            silent = ""
        elif joined:
            joined[-1] = f"{joined[-1]} {part}"
        else:
            silent = f"{silent} {part}".strip()
    return joined


def _cut(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """Yields a sentence in parts that fit."""
    if len(text) < 2 or fits(text):
        yield text
        return
    place = _place_of_cut(text)
    for part in (text[:place].strip(), text[place:].strip()):
        if part:
            yield from _cut(part, fits)


def _place_of_cut(text: str) -> int:
    """Returns the number of characters before the best cut: both parts hold a letter or digit where any cut does so."""
    middle = len(text) / 2
    everywhere = range(1, len(text))
    kinds = [
        [place for place in everywhere if text[place - 1] in marks and text[place] == " "] for marks in CLAUSE_ENDS
    ]
    kinds.append([place for place in everywhere if text[place] == " "])
    kinds.append([place for place in everywhere if not unicodedata.category(text[place]).startswith("M")])
    for places in kinds:
        useful = [place for place in places if has_sound(text[:place]) and has_sound(text[place:])]
        # a cut near an end would leave almost nothing on one side
        central = [place for place in useful if abs(place - middle) <= 0.4 * len(text)]
        if central:
            return min(central, key=lambda place: abs(place - middle))
    return max(1, round(middle))
