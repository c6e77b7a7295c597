"""Train a small generator on a dataset of latents, interrupt it, resume it, and sample from it.

python demos/02_encode_a_folder.py
python demos/03_train_tiny.py demo_out/latents --config train/dit-tiny --steps 50 --output demo_out/run
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich import print

import latentune


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="demo_out/latents", help="what demo 02 wrote")
    parser.add_argument("--config", default="train/dit-tiny", help="or train/lm-tiny, for tokens")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--output", default="demo_out/run")
    parser.add_argument("overrides", nargs="*", help="any key of the config, such as batch_size=4")
    options = parser.parse_intermixed_args(arguments)

    overrides = [f"data.source={options.dataset}", f"output={options.output}", f"steps={options.steps}"]
    config = latentune.train_config(latentune.load_settings(options.config, [*overrides, *options.overrides]))
    # stopped at any moment and run again, it resumes from its last checkpoint and ends with the same weights
    summary = latentune.train(config, progress=report)
    print(f"{summary.steps} steps in {summary.seconds:.0f} s, loss {summary.loss:.3f}; checkpoint {summary.checkpoint}")

    pipe = latentune.load_pipeline(options.output)  # a run's folder is a pipeline already
    out = pipe("music", duration_s=1.0, generator=torch.Generator().manual_seed(0))
    path = Path(options.output) / "sample.wav"
    latentune.write_audio(path, out.item(0), out.sample_rate)
    print(f"wrote {path}")


def report(done: int, total: int, figures: dict[str, float]) -> None:
    if done % 10 == 0:
        print(f"step {done}/{total}: loss {figures['loss']:.3f}")


if __name__ == "__main__":
    main()
