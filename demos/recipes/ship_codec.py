"""The averaged weights of a codec's training run -> half precision, with config and licence, into a folder.

python demos/recipes/ship_codec.py runs/codec tokenizers/codicodec/weights/mini
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from latentune.core.config import config_to_dict
from latentune.pipelines.data.checkpoints import run_weights
from latentune.tokenizers.load import load_tokenizer

LICENCE = "Apache-2.0 (training audio: CC-BY-SA, CC-BY, GPL, Expat and BSD-like licences, see the model card)"


def save_half(run: Path, output: Path, licence: str | None, latent_scale: float | None = None) -> None:
    """Saves the averaged weights of a run in half precision.

    Args:
        run: folder of the run.
        output: folder of the weights.
        licence: to write into the config; None: none.
        latent_scale: the config value to change; None: it stays.
    """
    codec = load_tokenizer(run_weights(run))
    if latent_scale is not None:
        codec.settings = replace(codec.settings, latent_scale=latent_scale)
        codec.register_to_config(**config_to_dict(codec.settings))
    if licence is not None:
        codec.licence = licence
    codec.to(torch.float16).save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--latent-scale", type=float, help="config value that brings the latents' deviation to about 1")
    arguments = parser.parse_args()
    save_half(arguments.run, arguments.output, LICENCE, arguments.latent_scale)


if __name__ == "__main__":
    main()
