"""Encodes audio into latent shards: `latentune encode` as a function.

A run can be killed at any moment and started again: what is committed stays, and the result is the same, byte for byte.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..core.compute import ComputeConfig
from ..core.config import config_to_dict
from ..core.device import PRECISIONS, pick_device, pick_dtype
from ..core.errors import AudioError, ConfigError
from ..core.job_log import job_logger
from ..core.processes import Place
from ..core.storage import place_of
from ..generators.conditions import is_given
from ..tokenizers.base import AudioTokenizer
from ..tokenizers.inputs import check_encode_options
from ..tokenizers.load import load_tokenizer
from .data.audio.find import AudioSource
from .data.importers.pre_encoded import LatentSource
from .data.shards.create import check_folder, describe_dataset, first_reasons, open_or_create, open_running
from .data.shards.crops import COLUMNS
from .data.shards.dataset_files import DATASET_FILE
from .data.shards.embed import store_embeddings
from .data.shards.encode_config import EncodeConfig, EncodeSummary
from .data.shards.index import all_failures
from .data.shards.job import ShardJob
from .data.shards.load_latents import latent_scale
from .data.shards.plan import Plan
from .data.shards.progress import EncodeProgress, ProgressCallback, ProgressReport
from .data.shards.read import LatentDataset
from .data.shards.remote import uploaded
from .data.shards.shard import ShardFile
from .data.shards.sharing import SharedRun, SharedShards
from .data.shards.worker import ShardProgress, ShardTask, make_encode_worker
from .engines import Engine, MakeWorker, build_engine

__all__ = ["EncodeConfig", "EncodeProgress", "EncodeSummary", "encode_dataset"]

logger = logging.getLogger(__name__)

TEXT = COLUMNS["text"]


def encode_dataset(
    config: EncodeConfig, *, tokenizer: AudioTokenizer | None = None, progress: ProgressCallback | None = None
) -> EncodeSummary:
    """Encodes audio into a shard dataset, completes one that a killed run left, or follows changes of the source.

    Processes that are called with the same settings at the same time, on one or several machines, share the work: each
    takes the next shard that nobody has, and those of processes that died. One of them completes the dataset.

    Of a source that gained, lost or changed files, the difference is encoded: items of files that are the same (by size
    and time of modification, or else by content) stay, those of files that are gone are removed.

    With `latents_are`, the source holds latents of this codec, which go into the dataset without being encoded.

    Files that cannot be decoded or hold nothing are left out, and listed in `failed.jsonl` and in the summary.

    Args:
        config: the audio, the tokenizer, the output and the settings of the dataset.
        tokenizer: a loaded codec, in place of `config.tokenizer`.
        progress: called now and then with how far the run is.

    Returns:
        What the dataset holds, and what this call encoded.

    Raises:
        AudioError: nothing could be encoded, or something could not and `strict` is set.
        ConfigError: tokens are wanted, but the codec has none; an option that its `encode` does not have; or `captions`
            name an unknown encoder or column.
        TypeError: an option of loading that the tokenizer does not have.
        CheckpointError: an encoder of `captions` cannot be loaded.
        InUseError: another process encodes into the folder with other settings.
        EngineError: a shard of which workers die.
        MismatchError: the folder holds a dataset with other settings, of another tokenizer, or of another source.
        DatasetError: the folder holds something else, or a corrupt shard.
        OSError: the output cannot be written.
    """
    place = place_of(config.output)
    if isinstance(place, str):
        _refuse_shared_url(config)
        with uploaded(place) as folder:
            summary = encode_dataset(replace(config, output=str(folder)), tokenizer=tokenizer, progress=progress)
        return replace(summary, path=place)
    begun_s = time.monotonic()
    engine = build_engine(config)
    check_folder(config.folder)
    codec, origin = _load_codec(config, tokenizer, engine)
    config = replace(config, compute_dtype=cast(Any, str(codec.dtype).removeprefix("torch.")))
    with closing(SharedRun(config.folder, _shared(config, codec))) as run:
        job, plan = _prepare(config, codec, origin, run, progress)
        report = ProgressReport(
            "encode", plan.num_items, num_failed=len(plan.failures), callback=progress, log_every_s=config.log_every_s
        )
        shards = SharedShards(job, plan, run.locks, report)
        shards.settle()
        _announce(config, job, plan, shards.num_open, codec)
        num_encoded = shards.encode(engine, _worker_maker(config, job, engine, codec, tokenizer))
        encoded = [ShardFile(job.path(number)) for number in plan.shard_numbers]
        info, other = run.complete(plan, encoded)
        if other is None:
            for column, source in config.captions.items():
                store_embeddings(job.folder, column, source, device=config.own_device())
            _warn_without_text(LatentDataset(job.folder), config)
    totals, state = info.get("totals", {}), report.state
    summary = EncodeSummary(
        path=str(job.folder),
        complete=info["complete"],
        completed_by=None if other is None else str(other),
        num_items=totals.get("num_items", state.items_done),
        num_failed=totals.get("num_failed", state.num_failed),
        hours=totals.get("duration_s", state.audio_s) / 3600,
        num_shards=plan.num_shards,
        num_shards_encoded=num_encoded,
        encoded_hours=state.audio_s / 3600,
        elapsed_s=time.monotonic() - begun_s,
        failures=tuple(all_failures(plan, encoded)),
    )
    _raise_on_failures(summary, config.strict)
    return summary


def _refuse_shared_url(config: EncodeConfig) -> None:
    """Raises ValueError where several machines would encode to a URL, which has no locks."""
    if Place.now().count > 1 or config.engine != "local":
        raise ValueError(
            f"one process alone can encode to {config.output}: "
            "let several encode to a folder that they share, and copy it"
        )


def _load_codec(config: EncodeConfig, tokenizer: AudioTokenizer | None, engine: Engine) -> tuple[AudioTokenizer, str]:
    """Returns the codec of this process, and what it was loaded from."""
    origin = config.tokenizer if tokenizer is None else _origin(tokenizer)
    codec = load_tokenizer(config.tokenizer, **config.tokenizer_options) if tokenizer is None else tokenizer
    check_encode_options(codec, config.encode_options)
    if "tokens" in config.streams and not codec.spec.tokens_per_frame:
        raise ConfigError(f"this {codec.spec.name} has no quantizer and so no tokens: set streams to [latents]")
    # workers have devices of their own, which this machine may not have
    device = "cpu" if engine.remote else config.device
    if tokenizer is None:
        dtype = _compute_dtype(config)
        if engine.remote:
            codec.place(dtype)
        else:
            ComputeConfig(device=device, precision=PRECISIONS[dtype], compile=config.compile).prepare(codec)
    return codec.to(pick_device(device)).eval(), origin


def _compute_dtype(config: EncodeConfig) -> torch.dtype:
    """Returns the dtype of all workers; those of Ray check by themselves that they have a GPU for fp16."""
    fp16_of_ray = config.engine == "ray" and config.precision == "fp16"
    return pick_dtype(config.precision, "cuda" if fp16_of_ray else pick_device(config.own_device()))


def _shared(config: EncodeConfig, codec: AudioTokenizer) -> dict[str, Any]:
    """Returns the settings that processes which encode together must agree on."""
    names = ("path_column", "where", "captions", "batch_s")
    more = {name: value for name, value in config_to_dict(config).items() if name in names}
    return {**config.settings, **more, "source": str(config.source_place), "tokenizer": codec.fingerprint()}


def _prepare(
    config: EncodeConfig, codec: AudioTokenizer, origin: str, run: SharedRun, progress: ProgressCallback | None
) -> tuple[ShardJob, Plan]:
    """Returns what the shards are encoded with, and their plan, which is made where needed."""
    folder, source = config.folder, _source(config, codec)
    with run.planning() as others:
        if others:
            info, plan = open_running(folder, config.settings, codec)
        else:
            wanted = describe_dataset(source.place, codec, tokenizer_source=origin, settings=config.settings)
            probed = ProgressReport("probe", None, callback=progress, log_every_s=config.log_every_s)
            info, plan = open_or_create(folder, wanted, source, codec, config, config.reading_threads, probed)
    job = ShardJob(
        folder=folder,
        root=source.root,
        settings=config,
        identity={"fingerprint": info["tokenizer"]["fingerprint"], "job": info["job"]},
        grown=info["plan"]["generation"] > 1,
        batch_s=config.batch_s,
        num_threads=config.reading_threads,
    )
    return job, plan


def _source(config: EncodeConfig, codec: AudioTokenizer) -> AudioSource | LatentSource:
    """Returns the audio to encode, or the latents to import."""
    if config.latents_are is None:
        if (Path(config.source) / DATASET_FILE).is_file():
            raise ValueError(f"{config.source} is a dataset of latents already: give the audio that it was made of")
        return AudioSource(config.source, path_column=config.path_column, where=config.where)
    latent_scale(codec)  # refuses a codec that has none before the work
    return LatentSource(config.source, codec.spec, where=config.where)


def _worker_maker(
    config: EncodeConfig, job: ShardJob, engine: Engine, codec: AudioTokenizer, given: AudioTokenizer | None
) -> MakeWorker[ShardTask, ShardProgress]:
    """Returns what makes a worker: with the codec that is loaded here or was given, else each loads its own."""
    named = str(Path(config.tokenizer).absolute()) if Path(config.tokenizer).exists() else config.tokenizer
    # what auto meant here is what every worker does, so that all shards are alike
    compute = ComputeConfig(precision=PRECISIONS[codec.dtype], compile=config.compile)
    chosen = named if engine.remote and given is None else codec
    return partial(
        make_encode_worker, job=job, tokenizer=chosen, tokenizer_options=config.tokenizer_options, compute=compute
    )


def _origin(tokenizer: AudioTokenizer) -> str:
    """Returns where a tokenizer was loaded from, or its class if it was not loaded."""
    return str(tokenizer.config.get("_name_or_path") or type(tokenizer).__name__)


def _announce(config: EncodeConfig, job: ShardJob, plan: Plan, num_open: int, codec: AudioTokenizer) -> None:
    """Logs what is encoded, with what, and where, or that nothing is left to do."""
    if not num_open:
        job_logger.info("already complete: all %d shards are in %s", plan.num_shards, job.folder)
        return
    place = Place.now()
    job_logger.info(
        "encoding %d items (%.3f h of audio) with %s (%s parameters), device %s, %s%s; "
        "%d of %d shards are already in %s",
        plan.num_items,
        plan.duration_s / 3600,
        type(codec).__name__,
        f"{sum(p.numel() for p in cast(nn.Module, codec).parameters()):,}",
        "of Ray" if config.engine == "ray" else ", ".join(config.devices()),
        config.compute_dtype,
        f", process {place.rank + 1} of {place.count}" if place.count > 1 else "",
        plan.num_shards - num_open,
        plan.num_shards,
        job.folder,
    )


def _warn_without_text(dataset: LatentDataset, config: EncodeConfig) -> None:
    """Logs a warning if a generator that is trained on the dataset would learn nothing of prompts."""
    columns = dataset.columns
    if config.captions or any(map(is_given, columns.distinct(TEXT))):
        return
    logger.warning(
        "no item has a %s (metadata columns: %s): a generator that is trained on this dataset follows no prompt, "
        "unless data.conditions.text names a column with texts",
        TEXT,
        ", ".join(sorted(columns.metadata)) or "none",
    )


def _raise_on_failures(summary: EncodeSummary, strict: bool) -> None:
    listed = f"{first_reasons(summary.failures)}; all are listed in {Path(summary.path) / 'failed.jsonl'}"
    if summary.num_items == 0:
        raise AudioError(f"nothing could be encoded: {listed}")
    if strict and summary.num_failed:
        raise AudioError(f"{summary.num_failed} items could not be encoded (strict): {listed}")
