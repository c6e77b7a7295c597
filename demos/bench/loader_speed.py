"""Random crops per second of the training loader, compared with datasets, LitData and WebDataset on the same items.

    python demos/bench/loader_speed.py [--items 20000] [--frames 48] [--crop 32] [--batch 256] [--seconds 5]

Every loader gives shuffled batches of crops [B, T, D] float32 of the same float16 latents, with their ids and texts, in
this one process on one core; each batch is checked to be made of crops. A package that is not installed is left out:
`pip install datasets litdata webdataset`.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dataset_writing import write_dataset
from torch import Tensor

from latentune.core.files import write_json
from latentune.pipelines.data.shards import LatentDataset, ShardSettings
from latentune.pipelines.training.data_config import LatentDataConfig
from latentune.pipelines.training.latent_data import LatentCrops
from latentune.pipelines.training.loader import micro_batches

logger = logging.getLogger("loader_speed")

Batches = Iterator[Tensor]  # of crops [B, T, D] float32
SHARD_ITEMS = 2000  # of a tar


class Items:
    """The content of all loaders: latents [N, T, D] float16, ids and texts."""

    def __init__(self, dataset: LatentDataset):
        latents = [item.latents for item in dataset]
        self.latents = torch.stack([x for x in latents if x is not None]).numpy().astype(np.float16)
        self.ids = dataset.columns.facts("id")
        self.texts = dataset.columns.values("text")

    def __len__(self) -> int:
        return len(self.ids)


def ours(folder: Path, crop_s: float, batch: int, threads: int) -> Batches:
    dataset = LatentDataset(folder)
    crops = LatentCrops(dataset, LatentDataConfig(source=str(folder), crop_s=crop_s), seed=0)
    batches = micro_batches(crops, first_step=0, batch_size=batch, parts=1, num_threads=threads)
    for found in batches:
        assert found.latents is not None
        yield found.latents


def start_of(generator: np.random.Generator, length: int, crop: int) -> int:
    return int(generator.integers(length - crop + 1))


def hugging_face(items: Items, folder: Path, crop: int, batch: int) -> Batches:
    """datasets: an arrow file, batches by index, crops cut from numpy arrays."""
    import datasets

    datasets.disable_progress_bars()
    shape = items.latents.shape[1:]
    features = datasets.Features(
        {
            "latents": datasets.Array2D(shape, "float16"),
            "id": datasets.Value("string"),
            "text": datasets.Value("string"),
        }
    )
    columns = {"latents": list(items.latents), "id": items.ids, "text": items.texts}
    datasets.Dataset.from_dict(columns, features).save_to_disk(str(folder / "arrow"))
    stored = datasets.load_from_disk(str(folder / "arrow")).with_format("numpy")
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(len(items))
        for begin in range(0, len(order) - batch + 1, batch):
            rows = stored[order[begin : begin + batch]]
            starts = (start_of(generator, shape[0], crop) for _ in range(batch))
            cut = [x[start : start + crop] for x, start in zip(rows["latents"], starts, strict=True)]
            yield torch.from_numpy(np.stack(cut)).float()


def litdata(items: Items, folder: Path, crop: int, batch: int) -> Batches:
    """LitData: chunks of 64 MB, its own shuffled order, its own loader in this process."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    (folder / "litdata").mkdir()
    writer = BinaryWriter(cache_dir=str(folder / "litdata"), chunk_bytes="64MB")
    for index, row in enumerate(zip(items.latents, items.ids, items.texts, strict=True)):
        writer.add_item(index, dict(zip(("latents", "id", "text"), row, strict=True)))
    writer.done()
    writer.merge()
    generator = np.random.default_rng(0)

    def collate(rows: list[dict[str, Any]]) -> Tensor:
        cut = []
        for row in rows:
            start = start_of(generator, len(row["latents"]), crop)
            cut.append(row["latents"][start : start + crop])
        return torch.from_numpy(np.stack(cut)).float()

    while True:
        stored = StreamingDataset(str(folder / "litdata"), shuffle=True, drop_last=True)
        loader = StreamingDataLoader(stored, batch_size=batch, num_workers=0, collate_fn=collate, drop_last=True)
        yield from loader


def webdataset(items: Items, folder: Path, crop: int, batch: int) -> Batches:
    """WebDataset: tar files, a shuffle buffer of 2,000 items."""
    import webdataset as wds

    (folder / "tars").mkdir()
    for begin in range(0, len(items), SHARD_ITEMS):
        with tarfile.open(folder / "tars" / f"{begin // SHARD_ITEMS:05d}.tar", "w") as tar:
            for number in range(begin, min(begin + SHARD_ITEMS, len(items))):
                array = BytesIO()
                np.save(array, items.latents[number])
                for suffix, data in (("npy", array.getvalue()), ("txt", items.texts[number].encode())):
                    entry = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, BytesIO(data))
    generator = np.random.default_rng(0)

    def cut(row: tuple[np.ndarray, str, str]) -> tuple[np.ndarray, str, str]:
        start = start_of(generator, len(row[0]), crop)
        return row[0][start : start + crop], row[1], row[2]

    paths = sorted(str(path) for path in (folder / "tars").iterdir())
    stored = wds.WebDataset(paths, shardshuffle=len(paths), seed=0).shuffle(2000)
    rows = stored.decode().to_tuple("npy", "txt", "__key__").map(cut).batched(batch, partial=False).repeat()
    for latents, _, _ in rows:
        yield torch.from_numpy(np.asarray(latents)).float()


def check(found: Tensor, items: Items, crop: int) -> None:
    """Raises ValueError if a batch is not made of crops of the items."""
    rows = found.numpy().astype(np.float16)
    for row in rows[:4]:
        place = np.argwhere((items.latents[:, :, 0] == row[0, 0]) & (items.latents[:, :, 1] == row[0, 1]))
        windows = {items.latents[n, start : start + crop].tobytes() for n, start in place}
        if row.tobytes() not in windows:
            raise ValueError("a loader gave a batch that is not made of crops")


def rate(batches: Batches, seconds: float) -> float:
    """Crops per second of the processor, after one batch that is not counted."""
    next(batches)
    begun, count = time.process_time(), 0
    while time.process_time() - begun < seconds:
        count += len(next(batches))
    return count / (time.process_time() - begun)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=Path("bench_out/loader_speed.json"))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_dataset(folder, arguments.items, arguments.frames, ShardSettings(streams=("latents",)))
        dataset = LatentDataset(folder / "data")
        items = Items(dataset)
        crop_s = arguments.crop * dataset.spec.hop_samples / dataset.spec.sample_rate
        contenders: dict[str, Callable[[], Batches]] = {
            "latentune": lambda: ours(folder / "data", crop_s, arguments.batch, threads=0),
            "latentune, one thread ahead": lambda: ours(folder / "data", crop_s, arguments.batch, threads=1),
        }
        for name, make in (("datasets", hugging_face), ("litdata", litdata), ("webdataset", webdataset)):
            if importlib.util.find_spec(name) is None:
                logger.warning("%s is not installed and left out", name)
                continue
            contenders[name] = lambda make=make: make(items, folder, arguments.crop, arguments.batch)  # type: ignore[misc]
        figures: dict[str, Any] = {"items": list(items.latents.shape), "crop": arguments.crop}
        for name, contender in contenders.items():
            batches = contender()
            check(next(batches), items, arguments.crop)
            figures[name] = rate(batches, arguments.seconds)
            batches.close()  # type: ignore[attr-defined]
            logger.info("%s: %.0f crops per second", name, figures[name])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, figures)


if __name__ == "__main__":
    main()
