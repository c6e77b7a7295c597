"""The official `model_config.json` (stable-audio-tools) as our config; parts that are not built are refused by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.config import build_config, nearest_hint
from ...core.errors import CheckpointError
from .bottleneck import BottleneckConfig
from .config import TAAEConfig

logger = logging.getLogger(__name__)

# keys of an encoder's or decoder's config that may be left out, with the official defaults
NETWORK_DEFAULTS: dict[str, Any] = {
    "sliding_window": [63, 64],
    "use_snake": False,
    "checkpointing": False,  # how it was trained
    "conformer": False,
    "layer_scale": True,
    "use_dilated_conv": False,
}
NETWORK_REQUIRED = ("channels", "c_mults", "strides", "transformer_depths", "latent_dim")
# of the model, besides its parts; proj_head_dim: of a training head that the released weights do not hold
MODEL_OPTIONAL = (
    "bottleneck",
    "latent_dim",
    "downsampling_ratio",
    "io_channels",
    "in_channels",
    "out_channels",
    "proj_head_dim",
)
NOT_BUILT = {
    "conformer": (False, "conformer modules"),
    "layer_scale": (True, "blocks without layer scale"),
    "use_dilated_conv": (False, "dilated residual units"),
}


def official_config(path: Path) -> TAAEConfig:
    """Returns the config that an official `model_config.json` describes.

    Raises:
        CheckpointError: the file is missing, another kind of model, unknown keys, or parts that contradict each other.
    """
    content = _section(
        _read(path),
        path.name,
        required=("model_type", "sample_rate", "model"),
        optional={"audio_channels": None, "sample_size": None, "training": None},  # the last two: how it was trained
        strict=False,
    )
    if content["model_type"] != "autoencoder":
        raise CheckpointError(f"{path} describes a model of type {content['model_type']!r}, not an autoencoder")
    model = _section(
        content["model"],
        "model",
        required=("encoder", "decoder", "pretransform"),
        optional=dict.fromkeys(MODEL_OPTIONAL),
        strict=False,
    )
    _, encoder = _network(model["encoder"], "model.encoder", "in_channels")
    decoder_part, decoder = _network(model["decoder"], "model.decoder", "out_channels")
    try:
        sizes, mirrored = _sizes(encoder), _sizes(decoder)
    except TypeError as error:
        raise CheckpointError(f"{path} has a size of the wrong type: {error}") from error
    for key in sizes:
        if sizes[key] != mirrored[key]:
            raise CheckpointError(f"encoder and decoder differ in {key}: {sizes[key]!r} and {mirrored[key]!r}")
    if decoder_part["soft_clip"] not in (True, False, None):
        raise CheckpointError(f"model.decoder.soft_clip must be true or false, got {decoder_part['soft_clip']!r}")
    try:
        config = build_config(
            TAAEConfig,
            {
                "sample_rate": content["sample_rate"],
                "soft_clip": bool(decoder_part["soft_clip"]),
                "bottleneck": _bottleneck(model["bottleneck"]),
                **_patching(model["pretransform"]),
                **sizes,
            },
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes a model that cannot be built: {error}") from error
    said_twice = {
        "audio_channels": (content["audio_channels"], config.channels),
        "model.io_channels": (model["io_channels"], config.channels),
        "model.in_channels": (model["in_channels"], config.channels),
        "model.out_channels": (model["out_channels"], config.channels),
        "model.latent_dim": (model["latent_dim"], config.latent_dim),
        "model.downsampling_ratio": (model["downsampling_ratio"], config.hop_samples),
        "encoder in_channels": (encoder["in_channels"], config.patch_width),
        "decoder out_channels": (decoder["out_channels"], config.patch_width),
    }
    for name, (said, follows) in said_twice.items():
        if said is not None and said != follows:
            raise CheckpointError(f"the config says {name} {said}, but {follows} follows from its other parts")
    return config


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the official config {path}: {error}") from error


def _section(
    values: Any, where: str, required: tuple[str, ...], optional: Mapping[str, Any], *, strict: bool = True
) -> dict[str, Any]:
    """Returns `values` with the defaults of `optional`.

    Args:
        values: the section.
        where: its name, for messages.
        required: its keys that must be there.
        optional: its other keys, with their defaults.
        strict: refuse an unknown key, which changes the network; otherwise it is logged and left out, as upstream does.

    Raises:
        CheckpointError: the section is not a mapping, a key is missing, or one is unknown and `strict`.
    """
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{where} must be a mapping, got {values!r}")
    unknown = [key for key in values if key not in required and key not in optional]
    if unknown and strict:
        hint = nearest_hint(unknown[0], [*required, *optional])
        raise CheckpointError(f"{where} has an unknown key {unknown[0]!r}: {hint}")
    if unknown:
        logger.warning("%s has keys that are not read: %s", where, ", ".join(map(str, unknown)))
    missing = [key for key in required if key not in values]
    if missing:
        raise CheckpointError(f"{where} lacks {', '.join(missing)}: it is not a Stable Codec config")
    return {**optional, **{key: value for key, value in values.items() if key not in unknown}}


def _part(values: Any, where: str, kind: str, optional: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a part, which must be of type `kind`: its `config`, and keys about it."""
    # requires_grad: how it was trained
    optional = {"requires_grad": True, **optional}
    part = _section(values, where, required=("type", "config"), optional=optional, strict=False)
    if part["type"] != kind:
        raise CheckpointError(f"{where} is of type {part['type']!r}, only {kind!r} can be built")
    return part


def _network(values: Any, where: str, own_key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a network's part, and its config with defaults."""
    part = _part(values, where, "taae", optional={"soft_clip": False})
    network = _section(part["config"], f"{where}.config", NETWORK_REQUIRED, {**NETWORK_DEFAULTS, own_key: None})
    for key, (built, name) in NOT_BUILT.items():
        if network[key] is not built:
            raise CheckpointError(f"{where} asks for {key} {network[key]!r}: {name} are not built here")
    return part, network


def _sizes(network: Mapping[str, Any]) -> dict[str, Any]:
    widths = {network["channels"] * factor for factor in network["c_mults"]}
    if len(widths) != 1 or len(network["c_mults"]) != len(network["strides"]):
        raise CheckpointError(f"stages of one width each are built, got {network['channels']} x {network['c_mults']}")
    return {
        "depths": tuple(network["transformer_depths"]),
        "strides": tuple(network["strides"]),
        "width": widths.pop(),
        "latent_dim": network["latent_dim"],
        "window": tuple(network["sliding_window"]),
        "use_snake": network["use_snake"],
    }


def _patching(values: Any) -> dict[str, Any]:
    # scale: upstream reads it, but the patched pretransform does not use it
    part = _part(values, "model.pretransform", "patched", optional=dict.fromkeys(("enable_grad", "scale")))
    config = _section(part["config"], "model.pretransform.config", required=("channels", "patch_size"), optional={})
    return {"channels": config["channels"], "patch_samples": config["patch_size"]}


def _bottleneck(values: Any) -> BottleneckConfig:
    if values is None:
        return BottleneckConfig(kind="none")
    config = _section(
        _part(values, "model.bottleneck", "dithered_fsq", optional={})["config"],
        "model.bottleneck.config",
        required=("dim", "levels"),
        # how it was trained: dither_inference is read by nothing in the official class
        optional={"num_codebooks": 1, "dither_inference": None, "noise_dropout": None},
    )
    if config["num_codebooks"] != 1:
        raise CheckpointError(f"a bottleneck of {config['num_codebooks']} codebooks is not built, only of 1")
    levels = config["levels"]
    return BottleneckConfig(levels=(levels,) * config["dim"] if isinstance(levels, int) else tuple(levels))
