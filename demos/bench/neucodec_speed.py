"""NeuCodec and DistillNeuCodec compared with the official classes on a CPU: same weights and audio, fp32, in one run.

    make bench        or        python demos/bench/neucodec_speed.py --versions NeuCodec --seconds 30 --repeats 3

Seconds of work per second of audio (RTF) for encode and decode at each length, the order alternating; the ratio of
medians is reported. Before that the results are compared: the share of tokens that are the same, which random weights
keep from 1 where a value lies next to a threshold, and the largest difference of the audio decoded from the same ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from official_neucodec import official_codec, save_official
from timing import add_precision, median_seconds, official_autocast
from torch import Tensor

from latentune.core.device import DTYPES
from latentune.core.files import write_json
from latentune.tokenizers.neucodec import DistillNeuCodec, NeuCodec

logger = logging.getLogger("neucodec_speed")
Contender = Callable[[], Tensor]
VERSIONS: dict[str, type[NeuCodec]] = {"NeuCodec": NeuCodec, "DistillNeuCodec": DistillNeuCodec}
RATE = 16000  # Hz, of what is encoded
SAME_TOKENS, AUDIO_DIFFERENCE = 0.98, 1e-4  # else the two do not compute the same


def compare(ours: NeuCodec, official: Any, audio: Tensor, repeats: int, precision: str) -> dict[str, Any]:
    """Agreement of both, then RTF of encode and decode and their ratio (above 1: ours is faster).

    Raises:
        RuntimeError: results that differ in fp32.
    """

    def no_grad(function: Contender) -> Contender:
        return torch.no_grad()(official_autocast(precision)(function))

    encode: dict[str, Contender] = {
        "ours": lambda: ours.encode(audio, RATE, chunk_s=None, official_length=True).tokens[..., 0],
        "official": no_grad(lambda: official.encode_code(audio)[:, 0]),
    }
    tokens = encode["official"]()
    decode: dict[str, Contender] = {
        "ours": lambda: ours.decode(tokens=tokens.long()[..., None], chunk_s=None),
        "official": no_grad(lambda: official.decode_code(tokens[:, None])),
    }
    same = (encode["ours"]() == tokens).float().mean().item()
    difference = (decode["ours"]() - decode["official"]()).abs().max().item()
    if precision == "fp32" and (same < SAME_TOKENS or difference > AUDIO_DIFFERENCE):
        raise RuntimeError(f"only {same:.3f} of the tokens are the same, and the audio differs by {difference:.1e}")
    seconds = audio.shape[-1] / RATE
    return {
        "same_tokens": same,
        "largest_difference": difference,
        "encode": rtf(encode, seconds, repeats),
        "decode": rtf(decode, seconds, repeats),
    }


def rtf(contenders: dict[str, Contender], seconds: float, repeats: int) -> dict[str, float]:
    """Returns the real-time factors of both, which are warm already, and their ratio."""
    found = {f"{name}_rtf": taken / seconds for name, taken in median_seconds(contenders, repeats).items()}
    return found | {"ratio": found["official_rtf"] / found["ours_rtf"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", nargs="+", choices=VERSIONS, default=list(VERSIONS), help="the first needs 8 GB")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 30.0], help="lengths of the audio")
    parser.add_argument("--repeats", type=int, nargs="+", default=[3, 1], help="of each length")
    parser.add_argument("--output", type=Path, default=Path("bench_out/neucodec.json"))
    add_precision(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "precision": arguments.precision}
    for version in arguments.versions:
        official = official_codec(version, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            save_official(official, Path(folder))
            ours = VERSIONS[version].from_official(folder, torch_dtype=DTYPES[arguments.precision])
        for seconds, repeats in zip(arguments.seconds, arguments.repeats, strict=True):
            audio = 0.1 * torch.randn(1, 1, round(seconds * RATE), generator=torch.Generator().manual_seed(1))
            measured = compare(ours, official, audio, repeats, arguments.precision)
            result[f"{version}, {seconds:g} s"] = measured
            for job in ("encode", "decode"):
                line = version, seconds, job, *measured[job].values()
                logger.info("%-15s %3g s  %s  ours %.3f  official %.3f  ratio %.2f", *line)
        del official, ours
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, result)
    logger.info("%s", json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
