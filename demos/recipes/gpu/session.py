"""Trains any codec's recipe for some minutes on one GPU, and resumes exactly where the last session ended.

    python demos/recipes/gpu/session.py RECIPE WORK --source MANIFEST --minutes 9 [key=value ...]

See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from latentune.core.config import build_config
from latentune.core.errors import TrainingInterrupted
from latentune.core.settings import load_settings
from latentune.demos.recipes.gpu.pack import MANIFEST, PACKED, pack
from latentune.demos.recipes.ship_codec import save_half
from latentune.pipelines.train import TrainConfig, train, train_config
from latentune.pipelines.training.data_config import AudioDataConfig
from latentune.tokenizers.load import tokenizer_class

logger = logging.getLogger(__name__)

BYTES_PER_PARAMETER = 2  # of half precision


class Deadline:
    """Asks the run to save a checkpoint and to stop when the time is up: a progress callback of `train`."""

    def __init__(self, minutes: float):
        self.end, self.asked = time.monotonic() + 60 * minutes, False

    def __call__(self, done: int, steps: int, figures: dict[str, float]) -> None:
        if time.monotonic() > self.end and not self.asked:
            self.asked = True
            signal.raise_signal(signal.SIGTERM)


def session_config(arguments: argparse.Namespace) -> TrainConfig:
    """The recipe on the packed data, in the folder of the run, with what a GPU wants, then `key=value`."""
    work: Path = arguments.work
    manifest = work / "pack" / MANIFEST
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    held_out = "{packed: valid}" if any(row[PACKED] == "valid" for row in rows) else "null"
    overrides = [
        f"data.source={manifest}",
        "data.where={packed: train}",
        "data.valid_source=null",
        f"data.valid_where={held_out}",
        f"data.cache_dir={work / 'cache'}",
        f"output={work / 'run'}",
        f"device={arguments.device}",
        "precision=bf16",
        "compile=true",
    ]
    overrides += arguments.keys
    if (work / "weights").is_dir() and not (work / "run").is_dir():
        overrides.append(f"model.init_from={work / 'weights'}")  # another machine: only the weights came along
    return train_config(load_settings(arguments.recipe, overrides))


def pack_recipe(arguments: argparse.Namespace) -> None:
    """Packs the data of the recipe, unless it is packed already.

    Raises:
        ValueError: no audio is named, or the codec is too large to bring its weights back.
    """
    if (arguments.work / "pack" / MANIFEST).is_file():
        return
    if arguments.source is None:
        raise ValueError(f"nothing is packed in {arguments.work / 'pack'}: name the audio with --source")
    config = train_config(load_settings(arguments.recipe, [f"data.source={arguments.source}", *arguments.keys]))
    assert isinstance(config.data, AudioDataConfig)
    cls = tokenizer_class(config.model.class_name)
    with torch.device("meta"):
        codec = cls(build_config(cls.config_class, config.model.config, "model.config"))
    sizes = sum(p.numel() for p in codec.parameters()) * BYTES_PER_PARAMETER / 1e6
    if sizes > arguments.max_weights_mb:
        raise ValueError(f"this codec's weights would be {sizes:.1f} MB, more than --max-weights-mb")
    spec, options = codec.spec, {"max_mb": arguments.pack_mb, "piece_s": arguments.piece_s, "kbps": arguments.kbps}
    pack(config.data, spec.sample_rate, spec.channels, arguments.work / "pack", **options)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a training config of a codec: a file or a shipped name")
    parser.add_argument("work", type=Path, help="holds pack/, run/ and weights/")
    parser.add_argument("keys", nargs="*", metavar="key=value", help="override the recipe")
    parser.add_argument("--source", help="audio to pack; not needed where pack/ came along")
    parser.add_argument("--minutes", type=float, default=9.0, help="of training, the compilation included")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="cuda")
    parser.add_argument("--pack-only", action="store_true", help="pack the data and stop")
    parser.add_argument("--pack-mb", type=float, default=58.0)
    parser.add_argument("--piece-s", type=float, default=6.0, help="length of a packed piece")
    parser.add_argument("--kbps", type=float, default=32.0, help="of the packed audio, per channel")
    parser.add_argument("--max-weights-mb", type=float, default=16.0)
    parser.add_argument("--licence", help="to write into the weights")
    arguments = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pack_recipe(arguments)
    if arguments.pack_only:
        return
    config = session_config(arguments)
    try:
        train(config, progress=Deadline(arguments.minutes))
    except TrainingInterrupted as stopped:
        logger.info("%s", stopped)
    save_half(config.folder, arguments.work / "weights", arguments.licence)
    logger.info("weights in half precision: %s", arguments.work / "weights")


if __name__ == "__main__":
    main()
