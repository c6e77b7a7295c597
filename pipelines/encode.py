"""Audio in, latent shards out: `latentune encode` as a function.

A run can be killed at any moment and run again: what is committed stays, and the result is the same, byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..core.config import config_to_dict, option
from ..core.device import pick_device
from ..core.errors import AudioError, ConfigError
from ..tokenizers.base import AudioTokenizer
from ..tokenizers.load import load_tokenizer
from .data.audio.find import find_audio
from .data.shards.create import describe_dataset, first_reasons, open_or_create, wait_for_plan
from .data.shards.index import all_failures, finalise
from .data.shards.plan import Failure, Plan
from .data.shards.settings import ShardSettings
from .data.shards.shard import ShardFile, shard_name
from .data.shards.write import encode_shard, open_committed


@dataclass(frozen=True, kw_only=True)
class EncodeConfig(ShardSettings):
    """What to encode, with what, into which folder, and how to go about it."""

    source: str = option(
        help="Audio file, folder of audio, or manifest (.jsonl, .jsonl.gz, .csv, .parquet).", positional=True
    )
    output: str = option(
        help="Folder of the dataset. A run with the same settings completes what an earlier one left.", positional=True
    )
    tokenizer: str = option(
        "codicodec-mini", "Tokenizer to encode with: a shipped or official name, a folder, or a hub id."
    )
    path_column: str = option("path", "Column of a manifest that holds the paths of the audio files.")
    where: dict[str, Any] = option(factory=dict, help="Values that a row of a manifest must have, such as split=train.")
    strict: bool = option(False, "Fail at the end if any file could not be encoded.")
    device: str = option("auto", "Device to compute on: auto, cpu, cuda, cuda:1 and so on.")
    batch_s: float = option(24.0, "Seconds of audio that are encoded at once, padding included.")
    num_threads: int = option(2, "Number of threads that read and convert audio in the background.")
    rank: int = option(0, "Number of this process among those that encode into the same folder.", hidden=True)
    world_size: int = option(1, "Number of processes that encode into the same folder.", hidden=True)
    wait_s: float = option(3600.0, "Seconds that the other processes wait for the plan of the first one.", hidden=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.batch_s > 0 or self.num_threads < 1:
            raise ValueError(
                f"batch_s must be above 0 and num_threads at least 1, got {self.batch_s} and {self.num_threads}"
            )
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be within 0..world_size - 1, got {self.rank} of {self.world_size}")

    @property
    def settings(self) -> dict[str, Any]:
        """The part that determines the dataset's bytes, as it is recorded."""
        names = {f.name for f in fields(ShardSettings)}
        return {name: value for name, value in config_to_dict(self).items() if name in names}


@dataclass(kw_only=True)
class EncodeProgress:
    """How far a run is."""

    phase: str  # "probe", then "encode"
    items_done: int
    items_total: int
    num_failed: int
    audio_s: float  # seconds of audio encoded by this run
    elapsed_s: float  # since this phase began

    @property
    def audio_hours_per_hour(self) -> float:
        return self.audio_s / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class EncodeSummary:
    """What a run did and what the dataset holds now."""

    path: str
    complete: bool  # False where other processes have not finished their shards yet
    num_items: int
    num_failed: int
    hours: float  # of audio in the committed shards
    num_shards: int
    num_shards_encoded: int  # by this run; the others were there
    encoded_hours: float  # of audio, by this run
    elapsed_s: float
    failures: tuple[Failure, ...]

    @property
    def audio_hours_per_hour(self) -> float:
        return self.encoded_hours * 3600 / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "audio_hours_per_hour": self.audio_hours_per_hour}


def encode_dataset(
    config: EncodeConfig,
    *,
    tokenizer: AudioTokenizer | None = None,
    progress: Callable[[EncodeProgress], None] | None = None,
) -> EncodeSummary:
    """Encode audio into a shard dataset, or complete one that a killed run left.

    Files that cannot be decoded or hold nothing are left out, listed in `failed.jsonl` and in the summary.

    Args:
        tokenizer: the codec, in place of loading `config.tokenizer`.
        progress: called now and then with how far it is.

    Raises:
        AudioError: nothing could be encoded, or something could not and `strict` is set.
        ConfigError: tokens are wanted of a codec that has none.
        MismatchError: the folder holds a dataset with other settings, another tokenizer or other source files.
        DatasetError: the folder holds something else, or a corrupt shard.
        OSError: the output cannot be written.
    """
    begun_s = time.monotonic()
    files = find_audio(config.source, path_column=config.path_column, where=config.where)
    given = tokenizer
    tokenizer = (load_tokenizer(config.tokenizer) if given is None else given).to(pick_device(config.device)).eval()
    if "tokens" in config.streams and not tokenizer.spec.tokens_per_frame:
        raise ConfigError(f"this {tokenizer.spec.name} has no quantiser and so no tokens: set streams to [latents]")
    folder = Path(config.output).expanduser().absolute()
    source = Path(config.source).expanduser().absolute()
    wanted = describe_dataset(
        source,
        files,
        tokenizer,
        tokenizer_source=config.tokenizer if given is None else _origin(given),
        settings=config.settings,
    )
    if config.rank == 0:
        report = _probe_progress(progress)
        info, plan = open_or_create(folder, wanted, files, tokenizer, config, config.num_threads, report)
    else:
        info, plan = wait_for_plan(folder, wanted, config.wait_s)
    root = source if source.is_dir() else source.parent
    run = _Run(
        config,
        folder,
        root,
        tokenizer,
        plan,
        {"fingerprint": info["tokenizer"]["fingerprint"], "job": info["job"]},
        progress,
    )
    run.encode_missing()
    shards = run.open_all()
    complete = shards is not None
    if shards is not None and (run.num_encoded or not info["complete"] or not _closed(folder)):
        info = finalise(folder, info, plan, shards)
    summary = run.summary(info, shards, time.monotonic() - begun_s)
    if complete:
        _raise_on_failures(summary, config.strict)
    return summary


def _origin(tokenizer: AudioTokenizer) -> str:
    """Where a tokenizer was loaded from, or its class if it never was."""
    return str(tokenizer.config.get("_name_or_path") or type(tokenizer).__name__)


class _Run:
    """One process at work on the shards that are its own."""

    def __init__(
        self,
        config: EncodeConfig,
        folder: Path,
        root: Path,
        tokenizer: AudioTokenizer,
        plan: Plan,
        identity: dict[str, str],
        progress: Callable[[EncodeProgress], None] | None,
    ):
        self.config, self.folder, self.root, self.tokenizer = config, folder, root, tokenizer
        self.plan, self.identity, self.progress = plan, identity, progress
        self.num_encoded = 0
        self.begun_s = time.monotonic()
        self.state = EncodeProgress(
            phase="encode",
            items_done=0,
            items_total=len(plan.items),
            num_failed=len(plan.failures),
            audio_s=0.0,
            elapsed_s=0.0,
        )

    def encode_missing(self) -> None:
        """Encode the shards of this process that are not there yet."""
        for number, items in self.plan.shards():
            if number % self.config.world_size != self.config.rank:
                continue
            path = self.folder / "shards" / shard_name(number)
            if path.exists():
                self._advance(len(items), 0.0, len(open_committed(path, self.identity).failures))
                continue
            encode_shard(
                number,
                items,
                self.folder,
                self.root,
                self.tokenizer,
                self.config,
                identity=self.identity,
                batch_s=self.config.batch_s,
                num_threads=self.config.num_threads,
                progress=self._advance,
            )
            self.num_encoded += 1

    def _advance(self, items: int, audio_s: float, failed: int) -> None:
        self.state.items_done += items
        self.state.audio_s += audio_s
        self.state.num_failed += failed
        self.state.elapsed_s = time.monotonic() - self.begun_s
        if self.progress is not None:
            self.progress(self.state)

    def open_all(self) -> list[ShardFile] | None:
        """All shards of the dataset, or None while other processes are still at work."""
        paths = [self.folder / "shards" / shard_name(number) for number in range(self.plan.num_shards)]
        if not all(path.exists() for path in paths):
            return None
        return [open_committed(path, self.identity) for path in paths]

    def summary(self, info: dict[str, Any], shards: list[ShardFile] | None, elapsed_s: float) -> EncodeSummary:
        totals = info.get("totals", {})
        return EncodeSummary(
            path=str(self.folder),
            complete=shards is not None,
            num_items=totals.get("num_items", self.state.items_done),
            num_failed=totals.get("num_failed", self.state.num_failed),
            hours=totals.get("duration_s", self.state.audio_s) / 3600,
            num_shards=self.plan.num_shards,
            num_shards_encoded=self.num_encoded,
            encoded_hours=self.state.audio_s / 3600,
            elapsed_s=elapsed_s,
            failures=tuple(all_failures(self.plan, shards or [])),
        )


def _probe_progress(progress: Callable[[EncodeProgress], None] | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    begun_s = time.monotonic()

    def report(done: int, total: int) -> None:
        progress(
            EncodeProgress(
                phase="probe",
                items_done=done,
                items_total=total,
                num_failed=0,
                audio_s=0.0,
                elapsed_s=time.monotonic() - begun_s,
            )
        )

    return report


def _raise_on_failures(summary: EncodeSummary, strict: bool) -> None:
    listed = f"{first_reasons(summary.failures)}; all are listed in {Path(summary.path) / 'failed.jsonl'}"
    if summary.num_items == 0:
        raise AudioError(f"nothing could be encoded: {listed}")
    if strict and summary.num_failed:
        raise AudioError(f"{summary.num_failed} items could not be encoded (strict): {listed}")


def _closed(folder: Path) -> bool:
    return (folder / "index.parquet").exists() and (folder / "failed.jsonl").exists()
