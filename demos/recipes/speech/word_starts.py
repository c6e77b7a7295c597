"""Compares where words begin in the layout that a generator learned with where flite speaks them.

    python demos/recipes/speech/word_starts.py melcodec-speech-say SPEECH/manifest.jsonl --num 60

flite says when each phoneme of a sentence ends. Its phonemes of single words tell which of them begin a word; sentences
in which the two disagree are left out and counted. The first word begins with the item and is not counted.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentune import load_generator
from latentune.generators.conditioning import ConditionEncoder, EncodedConditions
from latentune.generators.conditions import Conditions

logger = logging.getLogger(__name__)

PAUSE = "pau"
WORD = re.compile(r"[a-z']+")


def phonemes(text: str, voice: str) -> list[tuple[str, float]]:
    """flite's phonemes of a text without pauses, each with the time in seconds where it begins."""
    command = ["flite", "-voice", voice, "-t", text, "-psdur", "none"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    ends = [(name, float(end)) for name, _, end in (part.rpartition(":") for part in found)]
    starts = [0.0, *(end for _, end in ends[:-1])]
    return [(name, start) for (name, _), start in zip(ends, starts, strict=True) if name != PAUSE]


def spoken_starts(text: str, voice: str, lead_s: float) -> list[float] | None:
    """Seconds where each word of a text begins, the first at `lead_s`; None where flite reads a word in another way."""
    sentence = phonemes(text, voice)
    starts, place = [], 0
    for word in WORD.findall(text):
        if place >= len(sentence):
            return None
        starts.append(sentence[place][1])
        place += len(phonemes(word, voice))
    return [start - starts[0] + lead_s for start in starts] if place == len(sentence) else None


def laid_starts(weights: Tensor, words: Sequence[int], duration_s: float) -> list[float]:
    """Seconds where the symbols numbered `words` begin; the weights [S] are those of symbols between two edges."""
    until = torch.nn.functional.pad(weights.cumsum(0), (1, 0))
    return [float(until[1 + word] / until[-1]) * duration_s for word in words]


@torch.no_grad()
def learned_weights(encoder: ConditionEncoder, text: str) -> Tensor:
    """Relative lengths [S] of a text's symbols and edges."""
    if encoder.transcript is None or not encoder.spreads:
        raise SystemExit("this generator lays no symbols out")
    encoded: EncodedConditions = encoder(Conditions(values={encoder.transcript: [text]}))
    assert encoded.spread_weights is not None, "a transcript is spread"
    weights = encoded.spread_weights[0]
    return weights[weights > 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", help="of a pipeline, its folder generator/")
    parser.add_argument("manifest", type=Path, help="with the columns text, seconds and split")
    parser.add_argument("--split", default="test")
    parser.add_argument("--num", type=int, default=60, help="sentences")
    parser.add_argument("--voice", default="slt")
    parser.add_argument("--lead-s", type=float, default=0.05, help="silence that was left before the first word")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if shutil.which("flite") is None:
        raise SystemExit("flite is not installed: apt-get install flite")
    encoder = load_generator(arguments.generator).condition_encoder
    rows = [json.loads(line) for line in arguments.manifest.read_text(encoding="utf-8").splitlines()]
    errors: dict[str, list[float]] = {"learned": [], "even": []}
    left_out = 0
    for row in [row for row in rows if row["split"] == arguments.split][: arguments.num]:
        text = encoder.symbols([row["text"]])[0]
        truth = spoken_starts(text, arguments.voice, arguments.lead_s)
        if truth is None:
            left_out += 1
            continue
        places = [found.start() for found in WORD.finditer(text)]
        learned = learned_weights(encoder, row["text"])
        for name, weights in (("learned", learned), ("even", torch.ones_like(learned))):
            made = laid_starts(weights, places, row["seconds"])
            errors[name] += [abs(a - b) for a, b in zip(made[1:], truth[1:], strict=True)]
    for name, found in errors.items():
        values = torch.tensor(found)
        logger.info(
            "%s layout: mean error of where a word begins %.3f s, 90th percentile %.3f s (%d words)",
            name,
            values.mean(),
            values.quantile(0.9),
            len(values),
        )
    logger.info("%d sentences were left out", left_out)


if __name__ == "__main__":
    main()
