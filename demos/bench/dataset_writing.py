"""How long a dataset of many small items takes to write, without its encoder: plan, shards, and the index at the end;
and how long it takes to open.

    python demos/bench/dataset_writing.py [--items 20000] [--frames 48] [--output FILE]

The files exist and are looked up, but nothing is read of them: probing and encoding are replaced by constants.
"""

from __future__ import annotations

import argparse
import logging
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentune.core.files import write_json
from latentune.pipelines.data.audio.find import AudioSource
from latentune.pipelines.data.audio.item import AudioItem
from latentune.pipelines.data.audio.read import AudioInfo
from latentune.pipelines.data.shards import LatentDataset, ShardSettings
from latentune.pipelines.data.shards.create import describe_dataset, open_or_create
from latentune.pipelines.data.shards.encode_items import write_silence
from latentune.pipelines.data.shards.index import finalise
from latentune.pipelines.data.shards.progress import ProgressReport
from latentune.pipelines.data.shards.shard import EncodedItem, ShardFile, shard_name, write_shard
from latentune.pipelines.info import dataset_info
from latentune.tokenizers.melcodec import MelCodec, MelCodecConfig

logger = logging.getLogger("dataset_writing")

PARTS = ("plan", "shards", "finalise")
WORDS = ("slow", "bright", "piano", "rain", "crowd", "bass", "choir", "glass")


class Clock:
    """Seconds of wall clock and of the processor since the last look, by name."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self._last = time.perf_counter(), time.process_time()

    def take(self, name: str) -> None:
        now = time.perf_counter(), time.process_time()
        for kind, seconds, before in zip(("wall", "cpu"), now, self._last, strict=True):
            self.figures[f"{name}_{kind}_s"] = seconds - before
        self._last = now


def write_dataset(
    folder: Path, num_items: int, frames: int, settings: ShardSettings, plan_only: bool = False
) -> dict[str, float]:
    """Writes a dataset of `num_items` items of about `frames` latent frames to `folder / "data"`.

    Returns:
        Seconds of each part of the work.
    """
    codec = MelCodec(MelCodecConfig(num_codebooks=8)).eval()  # 64 channels
    spec = codec.spec
    seconds = frames * spec.hop_samples / spec.sample_rate
    with open(folder / "manifest.jsonl", "w", encoding="utf-8") as manifest:
        for n in range(num_items):
            manifest.write(f'{{"path": "{n:08d}.wav", "text": "{WORDS[n % 8]} {WORDS[n // 8 % 8]}"}}\n')
    for number in range(0 if plan_only else num_items):
        (folder / f"{number:08d}.wav").touch()
    probed = AudioInfo(sample_rate=spec.sample_rate, channels=1, num_samples=round(seconds * spec.sample_rate))
    AudioItem.probe = lambda self: probed  # type: ignore[method-assign]
    codec.fingerprint()
    (folder / "data").mkdir()
    write_silence(folder / "data" / "silence.safetensors", codec, settings)  # the encoder's own work
    clock = Clock()
    files = AudioSource(folder / "manifest.jsonl")
    wanted = describe_dataset(folder, codec, tokenizer_source="bench", settings={"streams": ["latents"]})
    report = ProgressReport("probe", None)
    info, plan = open_or_create(folder / "data", wanted, files, codec, settings, 2, report)
    clock.take("plan")
    if plan_only:
        open_or_create(folder / "data", wanted, files, codec, settings, 2, report)
        clock.take("again")
        return clock.figures
    identity = {"fingerprint": info["tokenizer"]["fingerprint"], "job": info["job"], "content": "bench"}
    latents = torch.from_numpy(np.random.default_rng(0).normal(size=(frames + 64, spec.latent_dim)).astype(np.float16))
    shards = []
    for number, items in plan.shards():
        entries = [
            EncodedItem(item=item, latents=latents[n % 64 :][:frames], tokens=None, num_samples=probed.num_samples)
            for n, item in enumerate(items)
        ]
        path = folder / "data" / "shards" / shard_name(number)
        write_shard(path, number, entries, [], spec=spec, settings=settings, identity=identity)
        shards.append(ShardFile(path))
    clock.take("shards")
    finalise(folder / "data", info, plan, shards)
    clock.take("finalise")
    return {**clock.figures, **open_dataset(folder / "data")}


def open_dataset(folder: Path) -> dict[str, float]:
    """Opens a dataset in three ways, and returns their seconds and MB of memory."""
    figures = {}
    for name, opened in (
        ("open", lambda: LatentDataset(folder)),
        ("where", lambda: LatentDataset(folder, where={"text": "slow bright"})),
        ("info", lambda: dataset_info(folder)),
    ):
        before, clock = resident_mb(), Clock()
        kept = opened()
        clock.take(name)
        figures |= {**clock.figures, f"{name}_mb": resident_mb() - before}
        del kept
    return figures


def resident_mb() -> float:
    """Returns the memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--plan-only", action="store_true", help="make the plan of files that do not exist, twice")
    parser.add_argument("--output", type=Path, default=Path("bench_out/dataset_writing.json"))
    arguments = parser.parse_args()
    settings = ShardSettings(streams=("latents",))
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = write_dataset(
            Path(folder), arguments.items, arguments.frames, settings, arguments.plan_only
        )
    for kind in ("wall", "cpu"):
        figures[f"written_{kind}_s"] = sum(figures.get(f"{part}_{kind}_s", 0.0) for part in PARTS)
    figures |= {"items": arguments.items, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, figures)
    logger.info("%s", "\n".join(f"{name}: {value:.3f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
