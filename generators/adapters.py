"""Low-rank adapters of generators: LoRA (Hu et al., arXiv 2106.09685) and DoRA (Liu et al., arXiv 2402.09353).

The layers are peft's and the file is that of diffusers (`pytorch_lora_weights.safetensors`); `adapter.json` next to it
names the generator that the adapter was trained on.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ..core.config import build_config, config_to_dict, option
from ..core.configured import COMPANIONS
from ..core.errors import CheckpointError
from ..core.extras import import_extra
from ..core.files import write_json
from ..core.folders import atomic_folder, refuse_strangers
from ..core.weights import hash_tensors
from .base import LatentGenerator, TrainedOn

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "adapter.json"
WEIGHTS = "pytorch_lora_weights.safetensors"
BASE_SHA256 = "base_sha256"  # key of the manifest, which adapters of earlier releases lack
TRAINED = "default"  # peft's name of the adapter that is being trained


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """An adapter that is trained in place of the generator's own weights."""

    rank: int = option(16, "Rank of the update of each adapted layer.")
    alpha: float | None = option(None, "The update is scaled by alpha / rank. By default alpha is the rank.")
    dora: bool = option(False, "Learn the magnitude of each adapted weight separately (DoRA).")
    layers: tuple[str, ...] = option(
        (),
        "Ends of the names of the linear layers to adapt, such as attention.to_q. By default all linear layers of the "
        "transformer's blocks are adapted.",
    )

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha must be above 0, got {self.alpha}")


def add_adapter(model: LatentGenerator, config: AdapterConfig) -> None:
    """Adds an adapter with random weights that changes nothing yet, and freezes all other weights.

    Args:
        model: the generator; the seed of the adapter's weights is torch's global one.
        config: of the adapter.

    Raises:
        MissingPackageError: peft is not installed.
        ValueError: no layer has one of the names in `config.layers`.
    """
    peft: Any = import_extra("peft", "adapters", "an adapter")
    names = _linear_layers(model, config.layers)
    alpha = config.rank if config.alpha is None else config.alpha
    lora = peft.LoraConfig(r=config.rank, lora_alpha=alpha, use_dora=config.dora, target_modules=names)
    cast(Any, model).add_adapter(lora, TRAINED)


def has_trained_adapter(model: Any) -> bool:
    """Returns whether a model has an adapter that is being trained."""
    return TRAINED in getattr(model, "peft_config", {})


def save_adapter(model: LatentGenerator, folder: Path, base: str) -> None:
    """Writes the adapter that is being trained, all or nothing.

    Args:
        model: the generator with the adapter.
        folder: to write to; an adapter that is there is replaced.
        base: where the generator without the adapter is: a folder or a hub id.

    Raises:
        ValueError: the folder holds something else.
        OutputError: it cannot be written; what was there before is as it was.
    """
    refuse_strangers(folder, (MANIFEST, WEIGHTS, *COMPANIONS), "the adapter", mark=MANIFEST)
    place = Path(base).expanduser()
    facts = {
        "format": FORMAT,
        "base": str(place.absolute()) if place.exists() else base,
        "generator_class": type(model).__name__,
        BASE_SHA256: _base_sha256(model),
        "tokenizer_fingerprint": model.binding.fingerprint,
        "trained_on": config_to_dict(model.trained_on),
    }
    with atomic_folder(folder, kept=COMPANIONS) as part:
        cast(Any, model).save_lora_adapter(part, TRAINED, weight_name=WEIGHTS)
        write_json(part / MANIFEST, facts)


def merged(model: LatentGenerator) -> LatentGenerator:
    """Returns a copy of a generator with the updates of its adapters in its weights; itself if it has none."""
    if not getattr(model, "peft_config", None):
        return model
    copy = cast(Any, deepcopy(model))
    copy.fuse_lora()
    copy.unload_lora()
    return cast(LatentGenerator, copy)


def restore_adapter(model: LatentGenerator, folder: Path) -> None:
    """Loads the weights of a saved adapter into the one that is being trained.

    Raises:
        CheckpointError: the saved adapter has other layers or ranks, or belongs to other weights.
    """
    peft: Any = import_extra("peft", "adapters", "an adapter")
    saved = _read_weights(folder)
    if _read_manifest(folder).get(BASE_SHA256) not in (None, _base_sha256(model)):
        raise CheckpointError(f"{folder} holds an adapter of other weights than those in model.init_from")
    mine: dict[str, Tensor] = peft.get_peft_model_state_dict(model, adapter_name=TRAINED)
    if {name: value.shape for name, value in mine.items()} != {name: value.shape for name, value in saved.items()}:
        raise CheckpointError(f"{folder} holds an adapter of other layers or another rank: choose another output")
    peft.set_peft_model_state_dict(model, saved, adapter_name=TRAINED)


def load_adapters(model: LatentGenerator, adapters: Mapping[str, float]) -> None:
    """Adds saved adapters to a generator; their updates are added up.

    Args:
        model: the generator.
        adapters: folder of each adapter, or of a training run or checkpoint of one -> its weight; 1 is as trained.

    Raises:
        MissingPackageError: peft is not installed.
        CheckpointError: a folder without an adapter, or an adapter of another kind of generator.
    """
    if not adapters:
        return
    import_extra("peft", "adapters", "an adapter")
    names = []
    for place in adapters:
        names.append(f"adapter_{len(getattr(model, 'peft_config', {}))}")
        _load(model, Path(place), names[-1])
    set_adapter_weights(model, dict(zip(names, adapters.values(), strict=True)))


def set_adapter_weights(model: LatentGenerator, weights: Mapping[str, float]) -> None:
    """Sets the weights of loaded adapters.

    Args:
        model: the generator.
        weights: name of each adapter (`adapter_0`, `adapter_1` ... in the order of loading) -> its weight; those that
            are left out do nothing.

    Raises:
        ValueError: a name that no loaded adapter has.
    """
    known = list(getattr(model, "peft_config", {}))
    if wrong := [name for name in weights if name not in known]:
        raise ValueError(f"the generator has no adapter {wrong[0]!r}: it has {', '.join(known) or 'none'}")
    if weights:
        cast(Any, model).set_adapters(list(weights), list(weights.values()))


def adapter_base(folder: Path) -> str:
    """Returns where the generator of a saved adapter is; raises CheckpointError if `adapter.json` is unreadable."""
    return str(_read_manifest(folder)["base"])


def _load(model: LatentGenerator, folder: Path, name: str) -> None:
    facts, saved = _read_manifest(folder), _read_weights(folder)
    if facts["generator_class"] != type(model).__name__:
        raise CheckpointError(
            f"{folder} is the adapter of a {facts['generator_class']}, and this generator is a {type(model).__name__}"
        )
    modules = dict(cast(nn.Module, model).named_modules())
    for key, value in saved.items():
        layer, _, part = key.partition(".lora_A.")
        if part and getattr(modules.get(layer), "in_features", None) != value.shape[-1]:
            raise CheckpointError(
                f"{folder} is the adapter of another {facts['generator_class']}: this generator has no layer {layer} "
                f"with {value.shape[-1]} inputs"
            )
    if facts["tokenizer_fingerprint"] != model.binding.fingerprint:
        logger.warning("the adapter %s was trained on the streams of another tokenizer", folder)
    elif facts.get(BASE_SHA256) not in (None, _base_sha256(model)):
        logger.warning("the adapter %s was trained on other weights of a %s", folder, facts["generator_class"])
    network = cast(Any, model)
    with warnings.catch_warnings():  # several adapters are meant
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        network.load_lora_adapter(folder, prefix=None, adapter_name=name, weight_name=WEIGHTS, local_files_only=True)
    network.eval()
    _add_facts(model, build_config(TrainedOn, facts["trained_on"], MANIFEST))


def _base_sha256(model: LatentGenerator) -> str:
    """Returns the hex SHA-256 of a generator's own weights, whatever adapters it has."""
    state = cast(nn.Module, model).state_dict()
    return hash_tensors({name.replace(".base_layer.", "."): x for name, x in state.items() if "lora_" not in name})


def _add_facts(model: LatentGenerator, facts: TrainedOn) -> None:
    """Adds the conditions that an adapter was trained with to those of the generator."""
    before = model.trained_on
    if before.conditions is None or facts.conditions is None or not hasattr(model.settings, "trained_on"):
        return
    seen = tuple(sorted({*before.conditions, *facts.conditions}))
    model.settings = replace(model.settings, trained_on=replace(before, conditions=seen))


def _linear_layers(model: LatentGenerator, ends: Sequence[str]) -> list[str]:
    linear = [name for name, part in cast(nn.Module, model).named_modules() if isinstance(part, nn.Linear)]
    if not ends:
        return [name for name in linear if name.startswith(model.adapted_layers)]
    found = [name for name in linear if name.endswith(tuple(ends))]
    for end in ends:
        if not any(name.endswith(end) for name in linear):
            raise ValueError(f"adapter.layers: no linear layer ends in {end!r}; there are {', '.join(linear)}")
    return found


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {MANIFEST}: it is not a saved adapter")
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = facts["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error!r})") from error
    if version != FORMAT:
        raise CheckpointError(f"{path} has format {version}, this release reads {FORMAT}")
    return facts


def _read_weights(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the adapter {folder / WEIGHTS}: {error}") from error
