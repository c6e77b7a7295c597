"""Synthesizes English speech with flite: many varied voices for a codec, or one voice for a generator that speaks.

    python demos/recipes/speech/synthesise.py OUT --wordnet x/usr/share/wordnet --phrases --voices slt --trim
    python demos/recipes/speech/synthesise.py OUT --texts kjv.txt us.txt --corpus CORPORA/manifest.jsonl --vary \
        --voices slt rms kal16 --test-voices awb

Writes `OUT/flite/<voice>/<number>.wav` (16 kHz mono) and `OUT/manifest.jsonl`, one row per sentence with `path`, `text`
and `split`. With `--corpus`, all rows of that corpus come first, with absolute paths; the column `mix` is `recorded` or
`flite`: a training config can draw from the two in any ratio. No sentence is in two splits.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from latentune.core.files import write_text
from latentune.demos.recipes.speech.sentences import phrases, sentences_of_texts, sentences_of_wordnet

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000  # Hz, of all of flite's voices used here
PITCH_HZ = {"slt": (150, 230), "rms": (75, 130), "kal16": (80, 140), "awb": (90, 150)}  # range of mean pitches
STRETCH = (0.8, 1.25)  # of durations
FRAME_SAMPLES = 80  # of the level that finds silence
SILENCE_DB = -35.0  # relative to the loudest frame
MARGIN_S = 0.05  # of silence that stays at both ends


@dataclass(frozen=True, kw_only=True)
class Job:
    """One sentence to be spoken."""

    split: str
    voice: str
    sentence: str
    options: tuple[str, ...] = ()  # of flite


def plan(sentences: Sequence[str], arguments: argparse.Namespace, shuffle: random.Random) -> list[Job]:
    """Returns what is spoken by which voice; test sentences come last and are nobody else's."""
    num = round(arguments.minutes * 60 / arguments.sentence_s)
    num_train = min(num, len(sentences) - arguments.test_sentences - arguments.valid_sentences)
    splits = ["train"] * num_train + ["valid"] * arguments.valid_sentences + ["test"] * arguments.test_sentences
    jobs = []
    for number, (split, sentence) in enumerate(zip(splits, sentences, strict=False)):
        voices = arguments.test_voices if split == "test" and arguments.test_voices else arguments.voices
        voice = voices[number % len(voices)]
        options = _varied(voice, shuffle) if arguments.vary else ()
        jobs.append(Job(split=split, voice=voice, sentence=sentence, options=options))
    return jobs


def _varied(voice: str, shuffle: random.Random) -> tuple[str, ...]:
    pitch_hz, stretch = shuffle.randint(*PITCH_HZ[voice]), shuffle.uniform(*STRETCH)
    return ("--setf", f"duration_stretch={stretch:.3f}", "--setf", f"int_f0_target_mean={pitch_hz}")


def speak(path: Path, job: Job, *, trim: bool) -> float:
    """Writes one sentence as a wav file; returns its seconds."""
    subprocess.run(["flite", "-voice", job.voice, *job.options, "-t", job.sentence, "-o", str(path)], check=True)
    if trim:
        audio, _ = soundfile.read(path, dtype="int16")
        soundfile.write(path, trimmed(audio), SAMPLE_RATE, "PCM_16")
    return float(soundfile.info(path).duration)


def trimmed(audio: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns audio [N] with at most `MARGIN_S` of silence before and after the sound."""
    frames = audio[: len(audio) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).astype(np.float64)
    level_db = 10 * np.log10((frames**2).mean(1) + 1e-9)
    loud = np.nonzero(level_db > level_db.max() + SILENCE_DB)[0]
    margin = round(MARGIN_S * SAMPLE_RATE)
    return audio[max(0, loud[0] * FRAME_SAMPLES - margin) : (loud[-1] + 1) * FRAME_SAMPLES + margin]


def rows_of_corpus(manifest: Path) -> Iterator[dict[str, Any]]:
    """The rows of a corpus's manifest with absolute paths, marked as recorded."""
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield {**row, "path": str((manifest.parent / row["path"]).resolve()), "mix": "recorded"}


def read_sentences(arguments: argparse.Namespace, shuffle: random.Random) -> list[str]:
    """Returns the sentences of all sources in a random order."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in arguments.texts]
    found = sentences_of_texts(texts)
    if arguments.wordnet is not None:
        found += sentences_of_wordnet(arguments.wordnet)
    if arguments.phrases:
        found += phrases()
    found = [sentence for sentence in dict.fromkeys(found) if sentence not in arguments.without]
    shuffle.shuffle(found)
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--texts", type=Path, nargs="+", default=[], help="plain text")
    parser.add_argument("--wordnet", type=Path, help="folder of WordNet's data files, whose examples are spoken")
    parser.add_argument("--phrases", action="store_true", help="greetings, short questions, counts")
    parser.add_argument("--without", nargs="+", default=[], help="sentences that are left out")
    parser.add_argument("--corpus", type=Path, help="manifest.jsonl that the sentences are added to")
    parser.add_argument("--minutes", type=float, default=120.0, help="of training speech, about")
    parser.add_argument("--sentence-s", type=float, default=5.0, help="seconds that a sentence takes, about")
    parser.add_argument("--valid-sentences", type=int, default=100)
    parser.add_argument("--test-sentences", type=int, default=60)
    parser.add_argument("--voices", nargs="+", default=["slt"], choices=sorted(PITCH_HZ))
    parser.add_argument("--test-voices", nargs="+", default=[], choices=sorted(PITCH_HZ), help="of the test sentences")
    parser.add_argument("--vary", action="store_true", help="pitch and speed differ from sentence to sentence")
    parser.add_argument("--trim", action="store_true", help="of the silence at both ends, leave 0.05 s")
    parser.add_argument("--licence", default="public domain text, voice of flite (BSD-like)")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO)
    shuffle = random.Random(0)
    work = plan(read_sentences(arguments, shuffle), arguments, shuffle)
    root = arguments.output.resolve()
    for voice in {job.voice for job in work}:
        (root / "flite" / voice).mkdir(parents=True, exist_ok=True)

    def make(number: int) -> dict[str, Any]:
        job = work[number]
        path = root / "flite" / job.voice / f"{number:06d}.wav"
        seconds = speak(path, job, trim=arguments.trim)
        facts = {"kind": "speech", "split": job.split, "mix": "flite", "speaker": f"flite-{job.voice}"}
        audio = {"path": str(path), "seconds": seconds, "sample_rate": SAMPLE_RATE, "channels": 1}
        text = {"language": "en", "text": job.sentence, "licence": arguments.licence, "package": "flite"}
        return {**audio, **facts, **text}

    recorded = [] if arguments.corpus is None else list(rows_of_corpus(arguments.corpus))
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(make, range(len(work))))
    rows = [*recorded, *made]
    write_text(root / "manifest.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    for split in ("train", "valid", "test"):
        seconds = [row["seconds"] for row in made if row["split"] == split]
        logger.info("%s: %d sentences, %.1f minutes", split, len(seconds), sum(seconds) / 60)


if __name__ == "__main__":
    main()
