"""Widens the range of magnitudes of trained weights, so that decoded audio is as loud as the original.

    python demos/recipes/set_level.py WEIGHTS SPEECH/manifest.jsonl OUTPUT --where kind=speech split=valid

Losses on logarithms leave a codec too quiet wherever phases are not known. The level difference is measured through
the tokens on recordings that are neither for training nor for tests, and removed in the weights. `--level-db` spreads
MelCodec's log magnitudes around their means by the factor that brings the level there: regression to the mean had
narrowed them, so that this costs less mel distance than a gain (music: from -3.05 dB at .939 to -1.69 dB at .943).
Without it a constant gain is added, to them or to the local deviations of a CoDiCodec; `--gain-db` chooses it.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch

from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.measure.codecs.evaluate import read_reference
from latentune.pipelines.measure.codecs.figures.distances import mel_distance
from latentune.pipelines.measure.codecs.figures.listening import level_difference_db
from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.codicodec import CoDiCodec
from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.melcodec import MelCodec

logger = logging.getLogger(__name__)

FACTORS = (1.0, 1.25)  # between which the one is searched
BISECTIONS = 5


@torch.no_grad()
def measure(
    codec: AudioTokenizer, manifest: str, where: dict[str, str], num: int, duration_s: float
) -> tuple[float, float]:
    """Mean level difference in dB and mean mel distance of up to `num` recordings of at least 2 s."""
    items = [item for item in find_audio(manifest, where=where) if item.metadata["seconds"] >= 2.0]
    levels, distances = [], []
    for item in items[:: max(1, len(items) // num)][:num]:
        audio = read_reference(item, codec.spec.sample_rate, 1, duration_s)
        decoded = codec.decode_encoded(codec.encode(audio[None], codec.spec.sample_rate), "tokens")[0]
        levels.append(level_difference_db(audio, decoded, codec.spec.sample_rate))
        distances.append(float(mel_distance(audio, decoded, codec.spec.sample_rate).mean()))
    return sum(levels) / len(levels), sum(distances) / len(distances)


@torch.no_grad()
def amplify(codec: AudioTokenizer, gain_db: float) -> None:
    """Adds a constant gain to what the codec decodes.

    Raises:
        TypeError: a codec without a parameter for it.
    """
    nepers = gain_db * math.log(10) / 20
    if isinstance(codec, MelCodec):
        bias, bins = codec.decoder.head.linear.bias, codec.settings.synthesis_window_samples // 2 + 1
        bias[:bins] += nepers
        if codec.settings.pitch_range_hz is not None:
            bias[2 * bins : 3 * bins] += nepers
    elif isinstance(codec, CoDiCodec) and codec.denoiser.deviation is not None:
        codec.denoiser.deviation.linear.bias += nepers * codec.settings.amplitude_exponent
    else:
        raise TypeError(f"{type(codec).__name__} has no parameter for its level: MelCodec and CoDiCodec-mini have one")


@torch.no_grad()
def spread(codec: MelCodec, factor: float) -> None:
    """Multiplies what the decoder's log magnitudes add to their means, in place."""
    weight, bins = codec.decoder.head.linear.weight, codec.settings.synthesis_window_samples // 2 + 1
    weight[:bins] *= factor
    if codec.settings.pitch_range_hz is not None:
        weight[2 * bins : 3 * bins] *= factor


def find_factor(codec: MelCodec, level_db: float, level_of: Callable[[MelCodec], float]) -> float:
    """The factor of `spread` that brings the level to `level_db`, by bisection."""
    low, high = FACTORS
    for _ in range(BISECTIONS):
        tried = copy.deepcopy(codec)
        spread(tried, (low + high) / 2)
        low, high = ((low + high) / 2, high) if level_of(tried) < level_db else (low, (low + high) / 2)
    return (low + high) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("manifest")
    parser.add_argument("output", type=Path)
    parser.add_argument("--where", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--num", type=int, default=40)
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--gain-db", type=float)
    parser.add_argument("--level-db", type=float, help="mean level that a factor is searched for, of MelCodec")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    codec = load_tokenizer(arguments.weights)
    where = dict(text.split("=", 1) for text in arguments.where)
    options = arguments.manifest, where, arguments.num, arguments.duration_s
    level, distance = measure(codec, *options)
    logger.info("before: level %+.2f dB, mel distance %.3f", level, distance)
    if arguments.level_db is None:
        amplify(codec, -level if arguments.gain_db is None else arguments.gain_db)
    elif isinstance(codec, MelCodec):
        spread(codec, find_factor(codec, arguments.level_db, lambda tried: measure(tried, *options)[0]))
    else:
        parser.error("--level-db is for MelCodec")
    logger.info("after: level %+.2f dB, mel distance %.3f", *measure(codec, *options))
    codec.to(torch.float16).save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
