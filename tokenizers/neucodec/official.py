"""Official NeuCodec weights in each of their layouts, with the semantic encoder that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ...core.errors import CheckpointError
from ...core.hub import AbsentFileError, Source, is_hub_id
from ...core.pickles import load_state_pickle
from ...core.weights import describe_keys
from ..parts.official import TRANSFORMERS_WEIGHTS, read_json, read_weights
from .config import CodecConfig, DistillNeuCodecConfig, NeuCodecConfig
from .distil_semantic import distil_semantic_state
from .distilled import DistillNeuCodec
from .model import NeuCodec
from .semantic import semantic_state
from .transformers_layout import MODEL_TYPE, convert_transformers, is_of_transformers, transformers_config
from .upstream import FILE_NAME, convert_state_dict, is_distilled

Version = TypeVar("Version", bound=NeuCodec)

CONFIG_FILE = "config.json"
SEMANTIC_FOLDER = "semantic"  # next to the weights
SEMANTIC_PREFIX = "semantic_encoder."
LICENCE = "Apache-2.0"


def official_version(source: Source) -> type[NeuCodec]:
    """Implements `NeuCodec.official_version`."""
    path = source.given or source.find(FILE_NAME)
    if path is None or path.suffix == ".safetensors":  # transformers has no distilled version
        return NeuCodec
    return DistillNeuCodec if is_distilled(load_state_pickle(path, mapped=True)) else NeuCodec


def read_codec(cls: type[Version], source: Source, semantic: str | Path | None, config: CodecConfig | None) -> Version:
    """Implements `NeuCodec.read_official`.

    Args:
        cls: the class to build.
        source: where the weights are.
        semantic: folder or hub id of the semantic encoder; None: the default places.
        config: for a `pytorch_model.bin` of another size than the released one.

    Returns:
        The codec.

    Raises:
        CheckpointError: as of `convert_state_dict`, or there is no semantic encoder that fits.
    """
    from accelerate import init_empty_weights

    values = _transformers_values(source)
    try:
        official = read_weights(source, *(TRANSFORMERS_WEIGHTS if values is not None else (FILE_NAME,)))
    except AbsentFileError as error:
        if not source.is_remote or semantic is not None or values is not None:
            raise
        raise AbsentFileError(
            f"{error}. Its semantic encoder is needed as well: `hf download {cls.semantic_hub_id} --local-dir "
            f"FOLDER/{SEMANTIC_FOLDER}`"
        ) from error
    if is_of_transformers(official):
        if values is None or cls.config_class is not NeuCodecConfig:
            raise CheckpointError(
                f"{source} has weights of transformers' NeuCodecModel: they need their {CONFIG_FILE} in the same "
                f"folder, and are never those of {DistillNeuCodec.__name__}"
            )
        config, semantic_name = transformers_config(values), str(source)
        semantic_state_dict = semantic_state(_semantic_part(official), config.semantic.num_layers)
    else:
        config, semantic_state_dict, semantic_name = _semantic_encoder(cls, source, semantic, config)
    with init_empty_weights(include_buffers=False):  # drawing a billion random weights takes longer than reading them
        codec = cls(config)
    state = {SEMANTIC_PREFIX + key: tensor for key, tensor in semantic_state_dict.items()}
    _check_semantic(state, codec, semantic_name)
    convert = convert_transformers if is_of_transformers(official) else convert_state_dict
    codec.load_state_dict(convert(official, codec) | state, strict=True, assign=True)
    codec.licence = LICENCE
    return codec


def _transformers_values(source: Source) -> dict[str, Any] | None:
    """Returns the content of a config.json of transformers' NeuCodec; None where there is none."""
    path = source.find(CONFIG_FILE)
    values = {} if path is None else read_json(path)
    return values if values.get("model_type") == MODEL_TYPE else None


def _semantic_part(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(SEMANTIC_PREFIX): t for k, t in official.items() if k.startswith(SEMANTIC_PREFIX)}


def _semantic_encoder(
    cls: type[NeuCodec], source: Source, semantic: str | Path | None, config: CodecConfig | None
) -> tuple[CodecConfig, dict[str, Tensor], str]:
    """Reads the semantic encoder of a `pytorch_model.bin`.

    Returns:
        The config with the sizes of the semantic encoder, which are its own; its state dict; and where it is.
    """
    if semantic is None:
        local = source.folder / SEMANTIC_FOLDER
        semantic = local if not source.is_remote and local.is_dir() else cls.semantic_hub_id
    values, weights = read_semantic_files(semantic, source.elsewhere)
    config = config or cls.config_class()
    state: dict[str, Tensor]
    # a config argument decides how many layers are used
    if isinstance(config, NeuCodecConfig):
        sizes: Any = type(config.semantic).from_hugging_face(values, config.semantic.num_layers)
        state = semantic_state(weights, sizes.num_layers)
    else:
        assert isinstance(config, DistillNeuCodecConfig)
        sizes = type(config.semantic).from_hugging_face(values)
        state = distil_semantic_state(weights)
    return replace(config, semantic=sizes), state, str(semantic)


def read_semantic_files(
    place: str | Path, hub_options: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns config and weights of a semantic encoder, as transformers names them.

    Raises:
        CheckpointError: it does not exist or cannot be read or fetched; the message says what is needed.
    """
    if not is_hub_id(place) and not Path(place).is_dir():
        raise CheckpointError(f"no folder of a semantic encoder at {place}")
    source = Source(place, hub_options)
    try:
        config_file = source.file(CONFIG_FILE)
        weights = read_weights(source, *TRANSFORMERS_WEIGHTS)
    except CheckpointError as error:
        needed = f"the codec needs the semantic encoder {place}, which its own weights do not contain"
        advice = (
            f": `hf download {place} --local-dir FOLDER` fetches it for semantic=FOLDER" if source.is_remote else ""
        )
        raise CheckpointError(f"{needed}{advice}. {error}") from error
    return read_json(config_file), weights


def _check_semantic(state: Mapping[str, Tensor], codec: NeuCodec, where: str) -> None:
    ours = {name: tensor.shape for name, tensor in codec.state_dict().items() if name.startswith(SEMANTIC_PREFIX)}
    missing, unexpected = sorted(set(ours) - set(state)), sorted(set(state) - set(ours))
    other = sorted(name for name in set(ours) & set(state) if state[name].shape != ours[name])
    if missing or unexpected or other:
        raise CheckpointError(
            f"the semantic encoder at {where} does not fit: {describe_keys('missing', missing)}, "
            f"{describe_keys('unexpected', unexpected)}, {describe_keys('of another size', other)}"
        )
