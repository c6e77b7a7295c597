"""The averaged weights of a generator's training run -> a pipeline folder in half precision.

python demos/recipes/ship_generator.py runs/dit pipelines/generation/weights/melcodec-music-dit --guidance-scale 4 \
    --sample '{"guidance_rescale": 0.7}'
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.generation.load import build_pipeline
from latentune.pipelines.generation.saved import PipelineDefaults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tokenizer", default="melcodec-music")
    parser.add_argument("--duration-s", type=float, default=10.0, help="of a sample, by default")
    parser.add_argument("--guidance-scale", type=float, default=1.0)
    parser.add_argument("--sample", type=json.loads, default={}, help="further sampling options, as JSON")
    arguments = parser.parse_args()
    defaults = PipelineDefaults(
        duration_s=arguments.duration_s, guidance_scale=arguments.guidance_scale, sample=arguments.sample
    )
    weights = run_weights(arguments.run)
    build_pipeline(arguments.tokenizer, weights, arguments.output, defaults=defaults, torch_dtype=torch.float16)


if __name__ == "__main__":
    main()
