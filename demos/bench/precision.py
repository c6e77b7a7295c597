"""Codecs in fp32, bf16 and fp16: speed, agreement of tokens, difference of audio, on the same recording, in one run.

    python demos/bench/precision.py --tokenizers melcodec-speech melcodec-music codicodec-mini --repeats 5

Speed is the median time of fp32 divided by that of the other format, of the process alone. Tokens are the share that
is equal to those of fp32 and the share within one level; audio is the root mean square difference of the decoded audio
(from the tokens of fp32) relative to that of fp32, and the difference of log-mel spectrograms, which hears no phase.
A codec without trained weights is a config such as tokenizers/taae-base: its speed means something, the rest little.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from typing import Any

import torch
from timing import median_seconds
from torch import Tensor

from latentune import load_tokenizer, read_audio
from latentune.core.device import DTYPES
from latentune.core.settings import load_settings
from latentune.layers.fsq import indices_to_digits
from latentune.layers.mel import magnitudes, mel_filters_on
from latentune.tokenizers.base import AudioTokenizer, Encoded
from latentune.tokenizers.load import tokenizer_class


def load(name: str) -> AudioTokenizer:
    """A shipped codec, or one of a config with random weights."""
    if not name.startswith("tokenizers/"):
        return load_tokenizer(name)
    settings = load_settings(name)
    torch.manual_seed(0)
    model: AudioTokenizer = tokenizer_class(settings["class_name"]).from_config(settings.get("config", {}))
    return model.eval()


def log_mel(audio: Tensor, sample_rate: int) -> Tensor:
    """Log-mel spectrogram [..., 64, T] in natural logarithms."""
    filters = mel_filters_on(audio.device, sample_rate, 1024, 64)
    return (filters @ magnitudes(audio, 1024, 256) + 1e-5).log()


def digits(tokens: Tensor, codec: AudioTokenizer) -> Tensor:
    """FSQ digits [B, T, all digits of a frame] of tokens [B, T, Q]."""
    return torch.cat([indices_to_digits(tokens[..., q], levels) for q, levels in enumerate(codec.spec.levels)], -1)


def rows(name: str, audio: Tensor, sample_rate: int, repeats: int) -> Any:
    """One row for each half precision."""
    codecs: dict[str, AudioTokenizer] = {}
    for precision, dtype in DTYPES.items():
        codecs[precision] = load(name)
        codecs[precision].place(dtype)
    encoded: dict[str, Encoded] = {}
    decoded: dict[str, Tensor] = {}

    def encode(precision: str) -> None:
        encoded[precision] = codecs[precision].encode(audio, sample_rate)

    def decode(precision: str) -> None:
        decoded[precision] = codecs[precision].decode_encoded(
            encoded["fp32"], "tokens", generator=torch.Generator().manual_seed(0)
        )

    with torch.inference_mode():
        for precision in DTYPES:
            encode(precision)
        for precision in DTYPES:
            decode(precision)
        seconds = {
            kind: median_seconds({p: partial(work, p) for p in DTYPES}, repeats, clock=time.process_time)
            for kind, work in (("encode", encode), ("decode", decode))
        }
    whole, codec = digits(encoded["fp32"].tokens, codecs["fp32"]), codecs["fp32"]
    for precision in ("bf16", "fp16"):
        half = digits(encoded[precision].tokens, codec)
        difference = decoded[precision] - decoded["fp32"]
        mel = log_mel(decoded[precision], codec.spec.sample_rate) - log_mel(decoded["fp32"], codec.spec.sample_rate)
        yield {
            "tokenizer": name,
            "precision": precision,
            **{f"{kind} speed": round(s["fp32"] / s[precision], 2) for kind, s in seconds.items()},
            "tokens equal": round(float((encoded[precision].tokens == encoded["fp32"].tokens).float().mean()), 4),
            "digits equal": round(float((half == whole).float().mean()), 4),
            "digits within one": round(float(((half - whole).abs() <= 1).float().mean()), 4),
            "audio rms": round(float(difference.square().mean().sqrt() / decoded["fp32"].square().mean().sqrt()), 4),
            "log mel": round(float(mel.abs().mean()), 4),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", nargs="+", default=["melcodec-speech", "melcodec-music", "codicodec-mini"])
    parser.add_argument("--audio", default="demos/fixtures/guitar_em9.flac")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    audio, sample_rate = read_audio(arguments.audio)
    audio = audio[None, :, : round(arguments.seconds * sample_rate)]
    for name in arguments.tokenizers:
        for row in rows(name, audio, sample_rate, arguments.repeats):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
