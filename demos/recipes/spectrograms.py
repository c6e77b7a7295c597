"""Draws spectrograms of recordings (above) and of what a codec decodes from their tokens (below) into one PNG.

python demos/recipes/spectrograms.py melcodec-speech spectrograms.png AUDIO... --start-s 1 --highest-hz 8000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch

from latentune import load_tokenizer, read_audio
from latentune.layers.stft import stft
from latentune.pipelines.data.audio.convert import resample, select_channels

matplotlib.use("agg")
from matplotlib import pyplot as plt

WINDOW_S, HOP_S = 0.04, 0.005
RANGE_DB = 70.0  # below the loudest point of the original


def level_db(audio: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Spectrogram in dB [F, T] of mono audio [1, N]."""
    window, hop = 2 * round(WINDOW_S * sample_rate / 2), round(HOP_S * sample_rate)
    return 20 * stft(audio, window, hop, nyquist=True).abs()[0].clamp_min(1e-6).log10()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("output", type=Path)
    parser.add_argument("audio", nargs="+")
    parser.add_argument("--start-s", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--highest-hz", type=float)
    arguments = parser.parse_args()
    codec = load_tokenizer(arguments.tokenizer)
    rate = codec.spec.sample_rate
    figure, axes = plt.subplots(2, len(arguments.audio), figsize=(4.2 * len(arguments.audio), 5), squeeze=False)
    for column, path in zip(axes.T, arguments.audio, strict=True):
        audio, own_rate = read_audio(path, start_s=arguments.start_s, duration_s=arguments.seconds)
        original = resample(select_channels(audio, 1), own_rate, rate)
        decoded = codec.decode_encoded(codec.encode(original[None], rate), "tokens")[0]
        top = float(level_db(original, rate).max())
        for axis, sound in zip(column, (original, decoded.mean(0, keepdim=True)), strict=True):
            extent = (0.0, sound.shape[1] / rate, 0.0, rate / 2000)
            axis.imshow(
                level_db(sound, rate), origin="lower", aspect="auto", extent=extent, vmin=top - RANGE_DB, vmax=top
            )
            axis.set_ylim(0, (arguments.highest_hz or rate / 2) / 1000)
            axis.set_ylabel("kHz")
        column[0].set_title(Path(path).name, fontsize=8)
        column[1].set_xlabel("s")
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=55)


if __name__ == "__main__":
    main()
