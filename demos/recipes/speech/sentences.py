"""English sentences to be spoken: out of plain texts, out of WordNet's examples, and everyday phrases."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

WORDS = (6, 22)  # per sentence of a plain text
WORDNET_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
# examples of words whose definition says so, or that hold such words themselves, are left out
REFUSED = re.compile(
    r"slur|offensive|vulgar|obscen|slang|sex|disparag|derogat|genital|intercourse|excrement|urin|prostitut|copulat"
    r"|kill|murder|rape|slave|drunk|whore|naked|suicid"
)
GREETINGS = ("hello", "hello there", "good morning", "good evening", "hi", "welcome", "welcome back", "good afternoon")
NAMES = ("my friend", "everyone", "Mary", "John", "Tom", "Anna", "doctor", "ladies and gentlemen", "my dear", "Peter")
QUESTIONS = (
    "how are you", "how is your mother", "how was your day", "where have you been", "what is your name",
    "what time is it", "where do you live", "can you hear me", "do you speak English", "would you like some tea",
    "may I come in", "what can I do for you", "is it going to rain", "how much does it cost", "who are you",
    "are you ready", "when does the train leave", "what are you doing", "have you seen my keys", "did you sleep well",
)  # fmt: skip
TIMES = ("today", "this morning", "tonight", "right now", "tomorrow", "this evening", "again", "at the moment")
STATEMENTS = (
    "nice to meet you", "thank you very much", "I am very well", "see you tomorrow", "I am sorry to be late",
    "have a nice day", "please sit down", "it is a pleasure to be here", "the weather is fine", "I do not know",
    "that is a good idea", "please call me back", "let us go home", "I would like a cup of coffee", "take care",
    "the next train leaves in ten minutes", "your order is ready", "turn left at the corner", "you are welcome",
    "please say it again", "this is a test of my voice", "I can speak now", "that was very kind of you",
)  # fmt: skip
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty")
COUNTED = ("days", "years", "apples", "books", "people", "miles", "minutes", "children", "friends", "letters")


def sentences_of_texts(texts: Sequence[str]) -> list[str]:
    """Returns all pieces of `texts` between full stops that have a number of words within `WORDS`."""
    pieces = re.split(
        r"[.!?;:]+\s", re.sub(r"\s+", " ", re.sub(r"\[.*?\]|\d+:\d+|[\d*_{}|<>()]+", " ", " ".join(texts)))
    )
    return [piece.strip() for piece in pieces if WORDS[0] <= len(piece.split()) <= WORDS[1]]


def sentences_of_wordnet(folder: Path, *, words: tuple[int, int] = (3, 14), min_count: int = 8) -> list[str]:
    """Returns the examples of WordNet without figures, with everyday words only, in the order of the alphabet.

    Args:
        folder: with `data.noun` and the other three, such as `usr/share/wordnet` of Debian's wordnet-base.
        words: the fewest and the most of a sentence.
        min_count: of how many examples each word of a sentence has to be part.
    """
    found = set()
    for name in WORDNET_FILES:
        for line in (folder / name).read_text(encoding="latin-1").splitlines():
            gloss = line.partition("|")[2]
            for example in re.findall(r'"([^"]+)"', gloss):
                readable = re.fullmatch(r"[A-Za-z' ,.;:?!-]+", example) and not REFUSED.search(gloss.lower())
                if readable and words[0] <= len(example.split()) <= words[1]:
                    found.add(" ".join(example.split()))
    counts = Counter(word for sentence in found for word in set(_words(sentence)))
    return sorted(finished(text) for text in found if all(counts[word] >= min_count for word in _words(text)))


def phrases() -> list[str]:
    """Returns greetings, short questions, statements and counts, several hundred of them."""
    questions = [f"{question}?" for question in QUESTIONS]
    questions += [f"{question} {time}?" for question, time in itertools.product(QUESTIONS[:7], TIMES)]
    greetings = [f"{greeting}, {name}." for greeting, name in itertools.product(GREETINGS, NAMES)]
    asked = [f"{greeting}, {question}?" for greeting, question in itertools.product(GREETINGS, QUESTIONS)]
    counts = [
        f"{first} {number} {things}."
        for first, (number, things) in itertools.product(
            ("I have", "we need", "there are"), itertools.product(NUMBERS, COUNTED)
        )
    ]
    random.Random(0).shuffle(counts)
    made = [*questions, *greetings, *asked, *(f"{text}." for text in STATEMENTS), *counts[:80]]
    return sorted({text[0].upper() + text[1:] for text in made})


def finished(sentence: str) -> str:
    """Returns a sentence with a full stop, unless it ends with a mark of its own."""
    return sentence if sentence[-1] in ".?!" else f"{sentence.rstrip(',;: ')}."


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
