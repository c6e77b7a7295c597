"""The job of a dataset: which shards are there, and what a shard is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ....core.errors import MismatchError
from ..audio.places import Root
from .plan import shard_content
from .settings import ShardSettings
from .shard import ShardFile, shard_name


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything but the codec with which all shards of a dataset are encoded. It can be sent to other processes."""

    folder: Path  # of the dataset
    root: Root  # folder that the paths of the items are relative to
    settings: ShardSettings
    identity: dict[str, str]  # the codec's `fingerprint`, and the `job` of settings and codec
    grown: bool  # whether a shard may hold items of an earlier plan
    batch_s: float  # seconds of audio that are encoded at once, padding included
    num_threads: int  # that read audio in the background

    def path(self, number: int) -> Path:
        """Returns the file of shard `number`."""
        return self.folder / "shards" / shard_name(number)

    def content(self, digest: str) -> str:
        """Returns the hash of everything that determines a shard; `digest` is that of its items in the plan."""
        return shard_content(digest, self.identity["job"])

    def find_shard(self, number: int) -> ShardFile | None:
        """Returns a shard that is already there, perhaps with the items of an earlier plan.

        Raises:
            DatasetError: it is corrupt.
            MismatchError: it is of another job.
        """
        if not self.path(number).exists():
            return None
        shard = ShardFile(self.path(number))
        if any(shard.header.get(key) != value for key, value in self.identity.items()):
            raise self._mismatch(shard)
        return shard

    def find_finished(self, number: int, digest: str) -> ShardFile | None:
        """Returns a shard that is there and holds the items that are planned for it.

        Args:
            number: of the shard.
            digest: of its items in the plan.

        Returns:
            The shard, or None if it must still be encoded.

        Raises:
            DatasetError: it is corrupt.
            MismatchError: it is of another job or plan.
        """
        shard = self.find_shard(number)
        if shard is None or shard.header.get("content") == self.content(digest):
            return shard
        if not self.grown:
            raise self._mismatch(shard)
        return None

    def _mismatch(self, shard: ShardFile) -> MismatchError:
        return MismatchError(f"shard {shard.path} was made with another plan or tokenizer: encode to another folder")
