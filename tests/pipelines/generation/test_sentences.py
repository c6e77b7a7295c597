"""A text is cut into sentences, and long sentences into parts; no word is lost and order is kept."""

# ruff: noqa: RUF001 - the marks of other scripts are meant
from __future__ import annotations

import pytest

from latentune.pipelines.generation.sentences import (
    CLAUSE_PAUSE_S,
    PARAGRAPH_PAUSE_S,
    SENTENCE_PAUSE_S,
    has_sound,
    pieces_of,
)


def texts(text: str, most: int = 10_000) -> list[str]:
    return [piece.text for piece in pieces_of(text, lambda part: len(part) <= most)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("Hello there", ["Hello there"]),
        ("hello there. how are you?", ["hello there.", "how are you?"]),
        ("Dr. Smith met Mr. J. R. Brown at 3.30 p.m. in St. Louis.", None),
        ("It costs 3.14 dollars, i.e. more than $2.50.", None),
        ('"Really?" he asked. "Yes!" she said.', ['"Really?" he asked.', '"Yes!" she said.']),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("Wait... what is that? Oh!", ["Wait... what is that?", "Oh!"]),
        ("So am I. You too.", ["So am I.", "You too."]),
        ("今日は。元気ですか？はい！", ["今日は。", "元気ですか？", "はい！"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        ("كيف حالك؟ أنا بخير.", ["كيف حالك؟", "أنا بخير."]),
        ("Привет. Как дела?", ["Привет.", "Как дела?"]),
        ("One line\nbroken in two.", ["One line broken in two."]),
        ("Stop! ... !!! Now.", ["Stop! ... !!!", "Now."]),
        ("... Stop.", ["... Stop."]),
        ("Visit example.com. It is free.", ["Visit example.com.", "It is free."]),
        ("1. First. 2. Second.", None),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str] | None) -> None:
    if expected is None and text.startswith("1."):
        expected = ["1.", "First.", "2.", "Second."]
    assert texts(text) == ([text] if expected is None else expected)


def test_pauses_are_longer_after_paragraphs_and_absent_at_the_end() -> None:
    pieces = pieces_of("One. Two.\n\nThree, four and five.", lambda text: len(text) < 15)
    assert [piece.text for piece in pieces] == ["One.", "Two.", "Three,", "four and five."]
    assert [piece.pause_s for piece in pieces] == [SENTENCE_PAUSE_S, PARAGRAPH_PAUSE_S, CLAUSE_PAUSE_S, 0.0]


@pytest.mark.parametrize("text", ["", "  \n\n ", "...", "?! — ()", "\N{GRINNING FACE}", "\u200b"])
def test_a_text_without_sound_has_no_pieces(text: str) -> None:
    assert not has_sound(text)
    assert pieces_of(text) == []


@pytest.mark.parametrize("most", [1, 5, 20, 60])
@pytest.mark.parametrize(
    "text",
    [
        "We went to the market; we bought apples, pears and plums, and then we walked home along the river slowly.",
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
        "吾輩は猫である名前はまだ無いどこで生れたかとんと見当がつかぬ",
        "a" * 300,
        "well - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - no",
    ],
)
def test_a_long_sentence_is_cut_and_nothing_is_lost(text: str, most: int) -> None:
    parts = texts(text, most)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert max(map(len, parts)) <= most
    if most >= 20 and " " in text:
        words = text.split()
        assert " ".join(parts).split() == words


def test_a_cut_is_at_the_strongest_mark_near_the_middle() -> None:
    text = "We went to the market; we bought apples, pears and plums."
    assert texts(text, 40) == ["We went to the market;", "we bought apples, pears and plums."]
    assert texts("we bought apples and pears, and plums for mother", 30) == [
        "we bought apples and pears,",
        "and plums for mother",
    ]


def test_ten_thousand_characters_without_a_mark() -> None:
    text = "word " * 2000
    parts = texts(text, 80)
    assert max(map(len, parts)) <= 80
    assert " ".join(parts).split() == text.split()
