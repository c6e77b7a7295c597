"""Name or folder -> pipeline: shipped names, saved pipelines, training runs and their checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...core.compute import compile_model
from ...core.config import refuse_unknown
from ...core.device import Precision, mapped_device, pick_dtype
from ...core.errors import CheckpointError, DatasetError
from ...core.hub import HUB_OPTIONS
from ...generators.adapters import load_adapters
from ...generators.load import load_generator
from ...tokenizers.base import AudioTokenizer
from ...tokenizers.cards import SHIPPED_CARDS as SHIPPED_TOKENIZERS
from ...tokenizers.load import load_tokenizer
from ..data.cards import PIPELINE_CARDS
from ..data.checkpoints import STATE_FILE, read_progress
from ..data.shards.dataset_files import read_dataset_json
from ..data.weights_folder import local_folder, weights_folder
from .pipeline import GenerationPipeline
from .saved import INSIDE, MANIFEST, PipelineDefaults, read_manifest

logger = logging.getLogger(__name__)


def load_pipeline(
    path: str | Path,
    *,
    tokenizer: str | Path | AudioTokenizer | None = None,
    adapters: Mapping[str, float] | None = None,
    device: torch.device | str | None = None,
    torch_dtype: torch.dtype | None = None,
    precision: Precision | None = None,
    device_map: Any = None,
    compile: bool = False,
    **hub_options: Any,
) -> GenerationPipeline:
    """Loads a tokenizer and a generator together.

    Args:
        path: a shipped name (`melcodec-music-dit`, `melcodec-music-lm`, `melcodec-speech-say`), a folder that
            `save_pretrained` wrote, the hub id (`owner/name`) of one, a training run or one of its checkpoints (the
            averaged weights), or a generator's own folder.
        tokenizer: which tokenizer to decode with, where the folder does not name one or the one it names has moved.
        adapters: folder of each adapter of the generator, or run or checkpoint that trained it -> its weight.
        device: of both networks; by default the CPU.
        torch_dtype: of both networks; by default float32.
        precision: the same by name, `fp32`, `bf16` or `fp16` (on a GPU), or `auto` (fp32 on the CPU, bf16 on a GPU that
            has it).
        device_map: the same as `device`, which may also be {"": device}.
        compile: compile both networks with torch.compile, in their first calls.
        hub_options: where the files are: `revision`, `subfolder`, `cache_dir`, `token`, `local_files_only`,
            `force_download`. All but the first two count for a tokenizer that is fetched by its name as well.

    Returns:
        The pipeline, in eval mode.

    Raises:
        CheckpointError: nothing usable is there.
        MismatchError: tokenizer and generator were not made for each other.
        TypeError: an unknown option.
        ValueError: an unknown precision or device, one of them given twice, or a network that cannot be compiled.
    """
    if (precision is not None and torch_dtype is not None) or (device is not None and device_map is not None):
        raise ValueError("precision and torch_dtype, device and device_map say the same: give one of them")
    device = device if device_map is None else mapped_device(device_map)
    refuse_unknown(hub_options, HUB_OPTIONS, "load_pipeline", ["tokenizer", "adapters", "torch_dtype", "device_map"])
    elsewhere = {name: value for name, value in hub_options.items() if name not in ("revision", "subfolder")}
    pipeline = _pipeline_at(local_folder(path, hub_options), tokenizer, elsewhere)
    load_adapters(pipeline.generator, _adapter_folders(adapters or {}))
    if precision is not None:
        torch_dtype = pick_dtype(precision, device or "cpu")
    pipeline.to(device, torch_dtype)
    if compile:
        compile_model(pipeline.tokenizer)
        compile_model(pipeline.generator)
    return pipeline


def _adapter_folders(adapters: Mapping[str, float]) -> dict[str, float]:
    """Returns the folder of each adapter and its weight; raises ValueError for one that is given twice."""
    found: dict[str, float] = {}
    for place, weight in adapters.items():
        folder = str(weights_folder(place))
        if folder in found:
            raise ValueError(f"the adapter {folder} is given twice: give it once, with one weight")
        found[folder] = weight
    return found


def shipped_pipelines(tokenizer: AudioTokenizer) -> list[str]:
    """Returns the names of the shipped pipelines whose generators were trained on this tokenizer's streams."""
    fingerprint = tokenizer.fingerprint()
    return [name for name in PIPELINE_CARDS if read_manifest(local_folder(name)).tokenizer_fingerprint == fingerprint]


def build_pipeline(
    tokenizer: str | Path,
    generator: str | Path,
    output: str | Path,
    *,
    defaults: PipelineDefaults | None = None,
    torch_dtype: torch.dtype | None = None,
) -> GenerationPipeline:
    """Puts a tokenizer and a generator into one pipeline folder.

    Args:
        tokenizer: as for `load_tokenizer`; one that ships is referred to by its name, another is copied.
        generator: a generator's folder, a training run or a checkpoint.
        torch_dtype: of the generator's weights in the folder, such as float16 to halve them.

    Returns:
        The pipeline that was written.

    Raises:
        MismatchError: they were not made for each other.
    """
    pipeline = GenerationPipeline(load_tokenizer(tokenizer), load_generator(weights_folder(generator)), defaults)
    if torch_dtype is not None:
        pipeline.generator.place(torch_dtype)
    pipeline.save_pretrained(output, tokenizer_name=str(tokenizer) if str(tokenizer) in SHIPPED_TOKENIZERS else None)
    return pipeline


def _pipeline_at(
    folder: Path, tokenizer: str | Path | AudioTokenizer | None, hub_options: Mapping[str, Any]
) -> GenerationPipeline:
    """Returns the pipeline in a local folder; the options are for a tokenizer that is not in it."""
    if isinstance(tokenizer, (str, Path)):
        tokenizer = load_tokenizer(tokenizer, **hub_options)
    if (folder / MANIFEST).is_file():
        named = read_manifest(folder).tokenizer
        if tokenizer is None and not named.startswith(INSIDE):
            tokenizer = load_tokenizer(named, **hub_options)
        return GenerationPipeline.from_pretrained(folder, tokenizer=tokenizer)
    place = weights_folder(folder)
    generator = load_generator(place)
    if tokenizer is None:
        tokenizer = load_tokenizer(_tokenizer_of(place, generator.binding.fingerprint), **hub_options)
    return GenerationPipeline(tokenizer, generator)


def _tokenizer_of(generator: Path, fingerprint: str) -> str:
    """Returns the tokenizer that a run names, or its dataset, or else the shipped one with that fingerprint."""
    if (generator.parent / STATE_FILE).is_file():
        data = read_progress(generator.parent).config.get("data", {})
        if data.get("tokenizer"):
            return str(data["tokenizer"])
        try:
            return str(read_dataset_json(Path(data["source"]))["tokenizer"]["source"])
        except (DatasetError, KeyError) as error:
            logger.info("the run's dataset does not name its tokenizer: %s", error)
    for name in SHIPPED_TOKENIZERS:
        if load_tokenizer(name).fingerprint() == fingerprint:
            return name
    raise CheckpointError(
        f"nothing at {generator} says which tokenizer it was trained for (fingerprint {fingerprint[:12]}): "
        "name one with tokenizer"
    )
