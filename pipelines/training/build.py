"""Model, objective and examples of a run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from ...core.config import build_config, config_to_dict
from ...core.configured import ConfiguredModel
from ...core.errors import MismatchError
from ...core.objective import Objective
from ...core.random import keyed_seed
from ...generators.adapters import add_adapter
from ...generators.base import LatentGenerator, TokenizerBinding, TrainedOn
from ...generators.load import generator_class
from ...tokenizers.base import AudioTokenizer
from ...tokenizers.load import load_tokenizer, tokenizer_class
from ..data.cards import PIPELINE_CARDS
from ..data.shards import dataset_binding
from ..data.shards.read import check_tokenizer
from ..data.weights_folder import weights_folder
from .adopt import adopt
from .audio_data import AudioCrops, open_audio
from .conditions import check_conditions
from .config import TrainConfig
from .data_config import AudioDataConfig, LatentDataConfig
from .identity import audio_identity, latents_identity
from .latent_data import LatentCrops, open_latents, verify_latents
from .loader import Examples
from .objectives import build_objective
from .start_weights import FROM_DATASET
from .whole_items import fitting_items

logger = logging.getLogger(__name__)

FACTS = "trained_on"  # field of a generator's config
HELD_OUT_SEED = 1  # held-out crops are the same in every run, whatever its seed


@dataclass(frozen=True, kw_only=True)
class Task:
    """A model, the objective it is trained for, and the examples it is trained on."""

    model: ConfiguredModel
    objective: Objective
    examples: Examples
    data: str  # identity of the training data, hex SHA-256
    held_out: Examples | None  # None: nothing is held out
    tokenizer: AudioTokenizer | None  # decodes the samples of a generator


def build_task(config: TrainConfig, accelerator: Any) -> Task:
    """Opens the data and builds the model, whose random weights are a function of `config.seed`.

    Args:
        config: of the run.
        accelerator: its main process does this first and fills caches that the others then find.

    Raises:
        ConfigError, DatasetError, TrainingError: see the parts; a dataset that `data.verify` finds corrupt.
        MismatchError: dataset, tokenizer and weights that were not made for each other.
    """
    if isinstance(config.data, LatentDataConfig) and config.data.verify and accelerator.is_main_process:
        verify_latents(config.data)
    torch.manual_seed(keyed_seed(config.seed, "weights"))
    with accelerator.main_process_first():
        return _tokenizer_task(config) if isinstance(config.data, AudioDataConfig) else _generator_task(config)


def _tokenizer_task(config: TrainConfig) -> Task:
    data = config.data
    assert isinstance(data, AudioDataConfig)
    model = _build_model(tokenizer_class(config.model.class_name), config, {})
    assert isinstance(model, AudioTokenizer)
    objective = build_objective(model, config.model.objective)
    rate, channels = model.spec.sample_rate, model.spec.channels
    crop_samples: int = objective.num_samples  # type: ignore[attr-defined]
    audio = open_audio(data, rate, channels)
    examples = AudioCrops(audio, data, crop_samples, config.seed)
    held_out = None
    if data.valid_where is not None or data.valid_source is not None:
        store = open_audio(data, rate, channels, held_out=True)
        held_out = AudioCrops(store, data, crop_samples, HELD_OUT_SEED, augment=False)
    return Task(
        model=model,
        objective=objective,
        examples=examples,
        data=audio_identity(audio),
        held_out=held_out,
        tokenizer=None,
    )


def _generator_task(config: TrainConfig) -> Task:
    data = config.data
    assert isinstance(data, LatentDataConfig)
    dataset = open_latents(data)
    tokenizer = load_tokenizer(data.tokenizer) if data.tokenizer is not None else None
    if tokenizer is not None:
        check_tokenizer(dataset, tokenizer)
    binding = dataset_binding(dataset)
    model = _build_model(generator_class(config.model.class_name), config, {"binding": binding})
    assert isinstance(model, LatentGenerator)
    if config.packed:
        if not model.can_pack:
            raise ValueError(f"{config.model.class_name} with this config cannot pack items: leave packed out")
        model.packed = True
    if config.adapter is not None:
        add_adapter(model, config.adapter)
    objective = build_objective(model, config.model.objective)
    encoder = getattr(model, "condition_encoder", None)  # a generator of somebody else may do without conditions
    if encoder is not None:
        dataset = fitting_items(dataset, data.crop_s, encoder)
        facts = replace(check_conditions(dataset, data, encoder), given=objective.trains_given)
        _record_facts(model, facts, fresh=config.model.init_from is None)
    held_out = None
    if data.valid_where is not None or data.valid_source is not None:
        held_out_set = open_latents(data, held_out=True)
        _check_fingerprint(held_out_set.fingerprint, binding, f"held-out dataset {held_out_set.path}")
        if encoder is not None:
            held_out_set = fitting_items(held_out_set, data.crop_s, encoder)
        held_out = LatentCrops(held_out_set, data, HELD_OUT_SEED, shuffle=False, encoder=encoder)
    return Task(
        model=model,
        objective=objective,
        examples=LatentCrops(dataset, data, config.seed, encoder=encoder),
        data=latents_identity(dataset),
        held_out=held_out,
        tokenizer=tokenizer,
    )


def _build_model(cls: type[ConfiguredModel], config: TrainConfig, extra: dict[str, Any]) -> ConfiguredModel:
    wanted: Any = build_config(cls.config_class, {**config.model.config, **extra}, "model.config")
    if config.model.init_from is None:
        return cls(wanted)
    place: str | Path = config.model.init_from
    if issubclass(cls, LatentGenerator):
        place = weights_folder(place)
    elif place in PIPELINE_CARDS:
        raise MismatchError(f"{place} is a generator: name the weights of a codec in model.init_from")
    model = cls.from_pretrained(place)
    if isinstance(model, LatentGenerator):
        _check_fingerprint(model.binding.fingerprint, extra["binding"], f"weights {config.model.init_from}")
    theirs, ours = config_to_dict(model.settings), config_to_dict(wanted)
    # the weights bring their own normalisation of the latents, and what they were trained on
    differing = sorted(key for key in ours if key not in FROM_DATASET and ours[key] != theirs[key])
    if not_allowed := [key for key in differing if key not in config.model.init_allow]:
        raise MismatchError(
            f"weights {config.model.init_from} were made with another model.config: {', '.join(not_allowed)} differ; "
            "leave model.class and model.config out, as train/fine-tune does, to take theirs; name these keys in "
            "model.init_allow; or leave init_from out"
        )
    if differing:
        kept = {key: getattr(model.settings, key) for key in FROM_DATASET if key in ours}
        model = adopt(cls(replace(wanted, **kept)), model)
    loaded: ConfiguredModel = model.float()
    return loaded


def _record_facts(model: LatentGenerator, facts: TrainedOn, *, fresh: bool) -> None:
    """Writes facts about the training data into the model's config, where it has a place for them.

    Conditions that the weights of `init_from` were trained with are added where the model still has them, or all are
    unknown if those are; given parts that they were trained with count as well.
    """
    if not any(field.name == FACTS for field in fields(model.settings)):
        return
    before = model.trained_on
    if not fresh:
        kept = set(before.conditions or ()) & set(model.condition_encoder.conditioners)
        seen = None if before.conditions is None else tuple(sorted({*(facts.conditions or ()), *kept}))
        facts = replace(facts, conditions=seen, given=facts.given or before.given)
    model.replace_settings(**{FACTS: facts})


def _check_fingerprint(fingerprint: str, binding: TokenizerBinding, what: str) -> None:
    if fingerprint != binding.fingerprint:
        raise MismatchError(
            f"{what} belongs to a tokenizer with fingerprint {fingerprint[:12]}, the training dataset to "
            f"{binding.fingerprint[:12]}: encode the audio with one and the same tokenizer"
        )
