"""The recipe of a generator that speaks: which sentences are spoken, in which split, and how they are trimmed."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from latentune.demos.recipes.speech.sentences import finished, phrases, sentences_of_texts, sentences_of_wordnet
from latentune.demos.recipes.speech.synthesise import MARGIN_S, SAMPLE_RATE, plan, trimmed


def test_examples_of_wordnet_are_everyday_words_without_figures(tmp_path: Path) -> None:
    lines = [
        '0 | a pet; "the dog runs home"; "he paid 12 dollars for the dog"',
        '1 | an ethnic slur; "the dog runs away"',
        '2 | fast; "the dog runs, home"; "the aardvark runs home"; "the dog"',
    ]
    for name in ("data.noun", "data.verb", "data.adj", "data.adv"):
        (tmp_path / name).write_text("\n".join(lines) if name == "data.noun" else "", encoding="latin-1")
    assert sentences_of_wordnet(tmp_path, min_count=2) == ["the dog runs home.", "the dog runs, home."]


def test_plain_text_is_cut_at_full_stops() -> None:
    text = "One two three four five six. Too short. [note] Seven eight nine ten eleven\ntwelve thirteen! 3:16 end."
    assert sentences_of_texts([text]) == ["One two three four five six", "Seven eight nine ten eleven twelve thirteen"]


def test_phrases_are_distinct_and_complete() -> None:
    made = phrases()
    assert len(made) == len(set(made)) > 300
    assert all(text[0].isupper() and text[-1] in ".?" for text in made)
    assert finished("come in;") == "come in."


def test_no_sentence_is_in_two_splits() -> None:
    arguments = argparse.Namespace(
        minutes=1.0,
        sentence_s=2.0,
        valid_sentences=5,
        test_sentences=4,
        voices=["slt", "rms"],
        test_voices=["awb"],
        vary=True,
    )
    jobs = plan([f"sentence {number}" for number in range(100)], arguments, random.Random(0))
    assert [job.split for job in jobs].count("train") == 30
    assert len({job.sentence for job in jobs}) == len(jobs) == 39
    assert {job.voice for job in jobs if job.split == "test"} == {"awb"}
    short = plan([f"sentence {number}" for number in range(12)], arguments, random.Random(0))
    assert [job.split for job in short] == ["train"] * 3 + ["valid"] * 5 + ["test"] * 4


def test_silence_at_both_ends_is_cut() -> None:
    sound = (np.sin(np.arange(SAMPLE_RATE) * 0.3) * 10000).astype(np.int16)
    silence = np.zeros(SAMPLE_RATE // 2, np.int16)
    cut = trimmed(np.concatenate([silence, sound, silence]))
    assert abs(len(cut) / SAMPLE_RATE - 1 - 2 * MARGIN_S) < 0.011
    assert len(trimmed(sound)) == len(sound)
