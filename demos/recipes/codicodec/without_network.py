"""Saves a CoDiCodec whose consistency network is off, to measure what that network adds.

    python demos/recipes/codicodec/without_network.py WEIGHTS OUTPUT

What is left of the decoder is its linear part: noise with the local deviation that the values give each cell of the
spectrogram.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from latentune.tokenizers.codicodec import CoDiCodec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    codec = CoDiCodec.from_pretrained(arguments.weights)
    if codec.denoiser.deviation is None:
        parser.error(f"{arguments.weights} has no local deviation (envelope_bands is 0): nothing is left without it")
    with torch.no_grad():
        for parameter in codec.denoiser.depatchifier.conv_out.parameters():
            parameter.zero_()
    codec.save_pretrained(arguments.output)


if __name__ == "__main__":
    main()
