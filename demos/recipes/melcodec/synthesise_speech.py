"""Synthesizes English speech with flite from plain text, and joins it with a corpus in one manifest.

    apt-get download bible-kjv-text && dpkg-deb -x bible-kjv-text_*.deb text     # any plain text of a free licence
    python demos/recipes/melcodec/synthesise_speech.py CORPORA/manifest.jsonl TEXT... OUT --minutes 120

Writes `OUT/flite/<voice>/<number>.wav` (16 kHz mono) and `OUT/manifest.jsonl`: all rows of the corpus with absolute
paths, then one row per synthesized sentence. The column `mix` is `recorded` or `flite`: a training config can draw from
the two in any ratio. Voices of `--test-voices` get the split `test`, and no training config draws from them.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import soundfile

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000  # Hz, of all of flite's voices used here
TRAIN_VOICES = ("slt", "rms", "kal16")
TEST_VOICES = ("awb",)
PITCH_HZ = {"slt": (150, 230), "rms": (75, 130), "kal16": (80, 140), "awb": (90, 150)}  # range of mean pitches
STRETCH = (0.8, 1.25)  # of durations
WORDS = (6, 22)  # per sentence


def sentences(texts: Sequence[str], shuffle: random.Random) -> list[str]:
    """All pieces of `texts` between full stops that have a number of words within `WORDS`, in a random order."""
    pieces = re.split(
        r"[.!?;:]+\s", re.sub(r"\s+", " ", re.sub(r"\[.*?\]|\d+:\d+|[\d*_{}|<>()]+", " ", " ".join(texts)))
    )
    chosen = [piece.strip() for piece in pieces if WORDS[0] <= len(piece.split()) <= WORDS[1]]
    shuffle.shuffle(chosen)
    return chosen


def jobs(
    texts: Sequence[str], voices: Sequence[str], num: int, shuffle: random.Random
) -> Iterator[tuple[str, str, int, float]]:
    """`num` random (voice, sentence, mean pitch in Hz, stretch of durations)."""
    for number, sentence in enumerate(sentences(texts, shuffle)[:num]):
        voice = voices[number % len(voices)]
        yield voice, sentence, shuffle.randint(*PITCH_HZ[voice]), shuffle.uniform(*STRETCH)


def synthesise(path: Path, voice: str, sentence: str, pitch_hz: int, stretch: float) -> float:
    """Writes one sentence as a wav file; returns its seconds."""
    options = ["--setf", f"duration_stretch={stretch:.3f}", "--setf", f"int_f0_target_mean={pitch_hz}"]
    subprocess.run(["flite", "-voice", voice, *options, "-t", sentence, "-o", str(path)], check=True)
    return float(soundfile.info(path).duration)


def rows_of_corpus(manifest: Path) -> Iterator[dict[str, Any]]:
    """The rows of a corpus's manifest with absolute paths, marked as recorded."""
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield {**row, "path": str((manifest.parent / row["path"]).resolve()), "mix": "recorded"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="manifest.jsonl")
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("output", type=Path)
    parser.add_argument("--minutes", type=float, default=120.0, help="of training speech, about")
    parser.add_argument("--test-sentences", type=int, default=60)
    parser.add_argument("--voices", nargs="+", default=TRAIN_VOICES)
    parser.add_argument("--test-voices", nargs="+", default=TEST_VOICES)
    parser.add_argument("--licence", default="public domain text, voice of flite (BSD-like)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    shuffle = random.Random(0)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in arguments.texts]
    num = round(arguments.minutes * 60 / 5.0)  # a sentence takes about five seconds
    planned = list(jobs(texts, arguments.voices, num, shuffle))
    tests = list(jobs(texts, arguments.test_voices, num + arguments.test_sentences, shuffle))
    used = {sentence for _, sentence, _, _ in planned}
    tests = [job for job in tests if job[1] not in used][: arguments.test_sentences]
    work = [("train", *job) for job in planned] + [("test", *job) for job in tests]
    root = arguments.output.resolve()
    for voice in {*arguments.voices, *arguments.test_voices}:
        (root / "flite" / voice).mkdir(parents=True, exist_ok=True)

    def make(number: int) -> dict[str, Any]:
        split, voice, sentence, pitch_hz, stretch = work[number]
        path = root / "flite" / voice / f"{number:06d}.wav"
        duration_s = synthesise(path, voice, sentence, pitch_hz, stretch)
        if split == "train" and number % 100 == 0:
            split = "valid"
        facts = {"kind": "speech", "split": split, "mix": "flite", "speaker": f"flite-{voice}", "language": "en"}
        audio = {"path": str(path), "seconds": duration_s, "sample_rate": SAMPLE_RATE, "channels": 1}
        return {**audio, **facts, "text": sentence, "licence": arguments.licence, "package": "flite"}

    with ThreadPoolExecutor(2) as pool:
        rows = [*rows_of_corpus(arguments.corpus), *pool.map(make, range(len(work)))]
    with open(root / "manifest.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    made = sum(row["seconds"] for row in rows if row["mix"] == "flite") / 60
    logger.info("%d sentences, %.1f minutes", len(work), made)


if __name__ == "__main__":
    main()
