"""The averaged weights of a generator's training run -> a pipeline folder in half precision.

python demos/recipes/ship_generator.py runs/dit pipelines/generation/weights/melcodec-music-dit
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.generation.load import build_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tokenizer", default="melcodec-music")
    arguments = parser.parse_args()
    build_pipeline(arguments.tokenizer, run_weights(arguments.run), arguments.output, torch_dtype=torch.float16)


if __name__ == "__main__":
    main()
