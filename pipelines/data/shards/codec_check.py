"""Compares what a dataset records about its codec with the codec itself, where that is at hand."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ....core.config import build_config, config_to_dict
from ....core.errors import CheckpointError, ConfigError
from ....tokenizers.base import AudioTokenizer
from ....tokenizers.cards import SHIPPED_CARDS
from ....tokenizers.load import load_tokenizer
from .dataset_files import DATASET_FILE, SILENCE_FILE
from .encode_items import silence_of
from .read import LatentDataset
from .settings import ShardSettings

logger = logging.getLogger(__name__)

TOLERANCE = 0.05  # of latents, about a twentieth of their deviation: other devices and number formats round otherwise
SAME_TOKENS = 0.5  # share of the tokens that must agree, for the same reason


def codec_problems(dataset: LatentDataset) -> list[str]:
    """Returns what differs from the codec, one line each; nothing is compared if the codec is not on this machine."""
    tokenizer = _at_hand(dataset)
    if tokenizer is None:
        return []
    recorded, path = dataset.info["tokenizer"], dataset.path / DATASET_FILE
    problems = []
    for key, found in (("spec", tokenizer.spec), ("config", tokenizer.settings)):
        if recorded.get(key) != config_to_dict(found):
            problems.append(f"{path}: the {key} is not that of {recorded['source']}: encode again")
    try:
        settings = build_config(ShardSettings, dataset.info["settings"])
    except ConfigError as error:
        logger.info("silence is not computed again: %s", error)
        return problems
    tokenizer.place(settings.compute_dtype)
    if not problems and not _is_silence(dataset, silence_of(tokenizer, settings)):
        silence = dataset.path / SILENCE_FILE
        problems.append(f"{silence} does not hold the silence of the codec: delete it and run encode again")
    return problems


def _at_hand(dataset: LatentDataset) -> AudioTokenizer | None:
    """Returns the codec of a dataset if it is shipped, or in the folder that it was loaded from."""
    source = str(dataset.info["tokenizer"]["source"])
    if source not in SHIPPED_CARDS and not Path(source).is_dir():
        logger.info("%s is not on this machine: spec and silence are not compared with the codec", source)
        return None
    try:
        tokenizer = load_tokenizer(source)
    except CheckpointError as error:
        logger.info("spec and silence are not compared with the codec: %s", error)
        return None
    if tokenizer.fingerprint() != dataset.fingerprint:
        logger.info("%s is another codec now: spec and silence are not compared with it", source)
        return None
    return tokenizer


def _is_silence(dataset: LatentDataset, wanted: dict[str, torch.Tensor]) -> bool:
    there = dataset.silence
    latents = there.latents is None or torch.allclose(
        there.latents, wanted["latents"].float(), rtol=TOLERANCE, atol=TOLERANCE
    )
    tokens = there.tokens is None or bool((there.tokens == wanted["tokens"]).float().mean() >= SAME_TOKENS)
    return latents and tokens
