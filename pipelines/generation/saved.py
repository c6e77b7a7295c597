"""Pipelines as folders: `pipeline.json`, `generator/` and either `tokenizer/` or the tokenizer's name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.config import build_config, config_to_dict
from ...core.configured import COMPANIONS
from ...core.errors import CheckpointError, MismatchError
from ...core.files import write_json
from ...core.folders import atomic_folder, refuse_strangers
from ...generators.base import LatentGenerator
from ...generators.load import load_generator
from ...tokenizers.base import AudioTokenizer
from ...tokenizers.load import load_tokenizer

FORMAT_VERSION = 1
MANIFEST = "pipeline.json"
OWN = (MANIFEST, "generator", "tokenizer", "model_index.json", *COMPANIONS)  # what replacing a pipeline removes
INSIDE = "./"  # how the manifest marks a folder of its own, as against a shipped name or a hub id


@dataclass(frozen=True, kw_only=True)
class PipelineDefaults:
    """The options of a call that its caller does not give."""

    duration_s: float = 10.0  # seconds
    guidance_scale: float = 1.0  # classifier-free guidance; 1 turns it off
    sample: dict[str, Any] = field(default_factory=dict)  # options of the generator, such as num_inference_steps
    decode: dict[str, Any] = field(default_factory=dict)  # options of the tokenizer's decode, such as steps


@dataclass(frozen=True, kw_only=True)
class PipelineManifest:
    """The contents of `pipeline.json`."""

    format_version: int
    tokenizer: str  # "./tokenizer", or the name by which `load_tokenizer` finds it
    tokenizer_class: str
    tokenizer_fingerprint: str  # hex SHA-256
    generator: str = f"{INSIDE}generator"
    generator_class: str
    defaults: PipelineDefaults = field(default_factory=PipelineDefaults)


def write_pipeline(
    folder: str | Path,
    tokenizer: AudioTokenizer,
    generator: LatentGenerator,
    defaults: PipelineDefaults,
    *,
    tokenizer_name: str | None = None,
) -> None:
    """Writes a pipeline folder, all or nothing; a pipeline that is already there is replaced.

    Args:
        tokenizer_name: refer to the tokenizer by the name (shipped, or hub id) that `load_tokenizer` finds it under, in
            place of a copy.

    Raises:
        MismatchError: the tokenizer of that name is another one.
        ValueError: the folder holds something else.
        OutputError: it cannot be written; what was there before is as it was.
    """
    folder, fingerprint = Path(folder), tokenizer.fingerprint()
    if tokenizer_name is not None and load_tokenizer(tokenizer_name).fingerprint() != fingerprint:
        raise MismatchError(f"{tokenizer_name} is not this pipeline's tokenizer: save it with a copy of the tokenizer")
    refuse_strangers(folder, OWN, "the pipeline", mark=MANIFEST)
    manifest = PipelineManifest(
        format_version=FORMAT_VERSION,
        tokenizer=tokenizer_name or f"{INSIDE}tokenizer",
        tokenizer_class=type(tokenizer).__name__,
        tokenizer_fingerprint=fingerprint,
        generator_class=type(generator).__name__,
        defaults=defaults,
    )
    with atomic_folder(folder, kept=COMPANIONS) as part:
        generator.save_pretrained(str(part / "generator"))
        if tokenizer_name is None:
            tokenizer.save_pretrained(str(part / "tokenizer"))
        write_json(part / MANIFEST, config_to_dict(manifest))


def read_pipeline(
    folder: str | Path, tokenizer: str | Path | AudioTokenizer | None = None
) -> tuple[AudioTokenizer, LatentGenerator, PipelineDefaults]:
    """Reads a pipeline folder.

    Args:
        tokenizer: take this one in place of the one that the manifest names.

    Raises:
        CheckpointError: no pipeline there, or one of another format.
        MismatchError: the tokenizer is not the one that the pipeline was saved with.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    source = _location(folder, manifest.tokenizer) if tokenizer is None else tokenizer
    found = source if isinstance(source, AudioTokenizer) else load_tokenizer(source)
    if found.fingerprint() != manifest.tokenizer_fingerprint:
        raise MismatchError(
            f"{folder} was saved with the {manifest.tokenizer_class} {manifest.tokenizer_fingerprint[:12]}, but "
            f"{manifest.tokenizer if tokenizer is None else 'the one given'} is {found.fingerprint()[:12]}: "
            "load it with the tokenizer it was saved with"
        )
    return found, load_generator(_location(folder, manifest.generator)), manifest.defaults


def read_manifest(folder: Path) -> PipelineManifest:
    """Reads `pipeline.json` in `folder`; raises CheckpointError where there is none, or one of another format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {MANIFEST}: it is not a saved pipeline")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values.get("format_version")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a pipeline's manifest ({error}): save the pipeline again") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, this release reads {FORMAT_VERSION}: save it again"
        )
    try:
        return build_config(PipelineManifest, values)
    except ValueError as error:
        raise CheckpointError(f"{path} is not a pipeline's manifest ({error}): save the pipeline again") from error


def _location(folder: Path, location: str) -> str:
    """Returns a location of the manifest in the form that `load_tokenizer` and `load_generator` take."""
    if not location.startswith(INSIDE):
        return location
    path = (folder / location).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder / MANIFEST} points outside its folder ({location}): save the pipeline again")
    return str(path)
