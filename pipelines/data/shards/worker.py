"""Encodes shards, the units of work and of commit. Their bytes do not depend on who encodes them, or how often."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from ....core.compute import ComputeConfig
from ....core.device import pick_device
from ....core.errors import MismatchError
from ....core.read_ahead import read_groups_ahead
from ....tokenizers.base import AudioTokenizer
from ....tokenizers.load import load_tokenizer
from ...engines import Worker
from ..audio.concerns import Concerns
from .encode_items import encode_batch
from .job import ShardJob
from .load import LoadedItem, load_item, make_batches
from .load_latents import load_latents
from .plan import Failure, PlannedItem
from .reuse import reusable_items
from .shard import EncodedItem, write_shard
from .source_files import SourceFiles

BATCHES_AHEAD = 2  # batches that are at least decoded while one is encoded; of long items, one per thread


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """A shard to encode."""

    number: int
    items: Sequence[PlannedItem]
    digest: str  # of the items in the plan


@dataclass(frozen=True, kw_only=True)
class ShardProgress:
    """A part of a shard that is done."""

    number: int
    num_items: int = 0
    audio_s: float = 0.0  # seconds that were encoded
    num_failed: int = 0
    concerns: Concerns | None = None  # about the audio of a shard that is committed now, None before


def make_encode_worker(
    device: str,
    *,
    job: ShardJob,
    tokenizer: AudioTokenizer | str,
    tokenizer_options: Mapping[str, Any],
    compute: ComputeConfig,
) -> EncodeWorker:
    """Returns a worker of a job.

    Args:
        device: of the codec.
        job: what to encode with.
        tokenizer: the codec, or where it is loaded from.
        tokenizer_options: with which it is loaded.
        compute: number format of a codec that is loaded here, and whether it is compiled.

    Raises:
        MismatchError: what was loaded is another codec than that of the job.
    """
    if isinstance(tokenizer, str):
        source, tokenizer = tokenizer, load_tokenizer(tokenizer, **tokenizer_options)
        if tokenizer.fingerprint() != job.identity["fingerprint"]:
            raise MismatchError(f"{source} is another tokenizer in a worker than in the process that started it")
        replace(compute, device=device).prepare(tokenizer)
    return EncodeWorker(job, tokenizer.to(pick_device(device)).eval())


class EncodeWorker(Worker[ShardTask, ShardProgress]):
    """Encodes shards and commits them.

    Args:
        job: what to encode with.
        tokenizer: the codec, on its device.
    """

    def __init__(self, job: ShardJob, tokenizer: AudioTokenizer):
        self.job, self.tokenizer = job, tokenizer

    def work(self, tasks: Iterator[ShardTask]) -> Iterator[ShardProgress]:
        """Yields what is done, batch by batch; audio is read ahead also beyond the end of a shard.

        Raises:
            DatasetError: a shard is there, but corrupt.
            MismatchError: a shard is there, but of another job.
            OSError: a shard cannot be written.
        """
        shards: deque[_Shard] = deque()  # in order, those that are not committed

        def batches() -> Iterator[list[tuple[_Shard, PlannedItem]]]:
            for task in tasks:
                shard = _Shard(self.job, self.tokenizer, task)
                shards.append(shard)
                for batch in shard.batches:
                    yield [(shard, item) for item in batch]

        num_threads = self.job.num_threads
        num_ahead = max(BATCHES_AHEAD, num_threads)
        try:
            with closing(read_groups_ahead(_load, batches(), num_threads=num_threads, num_ahead=num_ahead)) as loaded:
                for batch in loaded:
                    current = batch[0][0]
                    while shards[0] is not current:  # nothing of it was left to encode
                        yield shards.popleft().commit()
                    yield current.encode([item for _, item in batch])
                    if not current.num_open:
                        yield shards.popleft().commit()
            while shards:
                yield shards.popleft().commit()
        finally:
            for shard in shards:
                shard.files.close()


def _load(entry: tuple[_Shard, PlannedItem]) -> tuple[_Shard, LoadedItem | EncodedItem | Failure]:
    shard, item = entry
    load = load_item if shard.job.settings.latents_are is None else load_latents
    return shard, load(item, shard.files, shard.tokenizer, shard.job.settings)


class _Shard:
    """A shard that is being encoded. Items that it holds already are kept."""

    def __init__(self, job: ShardJob, tokenizer: AudioTokenizer, task: ShardTask):
        self.job, self.tokenizer, self.task = job, tokenizer, task
        earlier = job.find_shard(task.number)
        self.encoded: dict[str, EncodedItem] = {} if earlier is None else reusable_items(earlier, task.items)
        self.failed: dict[str, Failure] = {}
        self.num_kept = len(self.encoded)
        missing = [item for item in task.items if item.id not in self.encoded]
        self.batches = make_batches(missing, tokenizer.spec, job.batch_s)
        self.num_open = len(self.batches)
        self.concerns = Concerns()
        self.files = SourceFiles((item for batch in self.batches for item in batch), job.root, self.concerns)

    def encode(self, batch: Sequence[LoadedItem | EncodedItem | Failure]) -> ShardProgress:
        """Encodes a batch."""
        done, lost = encode_batch(batch, self.tokenizer, self.job.settings)
        self.encoded |= {entry.item.id: entry for entry in done}
        self.failed |= {entry.id: entry for entry in lost}
        self.num_open -= 1
        return ShardProgress(
            number=self.task.number,
            num_items=len(batch),
            audio_s=sum(entry.num_samples for entry in done) / self.tokenizer.spec.sample_rate,
            num_failed=len(lost),
        )

    def commit(self) -> ShardProgress:
        """Writes the shard."""
        self.files.close()
        number, items = self.task.number, self.task.items
        write_shard(
            self.job.path(number),
            number,
            [self.encoded[item.id] for item in items if item.id in self.encoded],
            [self.failed[item.id] for item in items if item.id in self.failed],
            spec=self.tokenizer.spec,
            settings=self.job.settings,
            identity={**self.job.identity, "content": self.job.content(self.task.digest)},
        )
        return ShardProgress(number=number, num_items=self.num_kept, concerns=self.concerns)
