"""Writes networks as graphs for other runtimes: `latentune export` as a function."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..core.config import option
from ..core.errors import CheckpointError, ConfigError
from ..core.extras import import_extra
from ..core.files import write_json
from ..core.folders import atomic_folder, refuse_strangers
from ..core.graphs import Graph
from ..generators.base import LatentGenerator
from ..tokenizers.base import AudioTokenizer
from ..tokenizers.load import load_tokenizer
from .generation.graph_files import GraphError, export_graph
from .generation.load import load_pipeline

MANIFEST = "export.json"
OWN = (MANIFEST, *(f"{name}.*" for name in ("decoder", "step", "embed", "digits", "flow")))  # names of what is written


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The options of `latentune export`."""

    model: str = option(help="Pipeline, training run, checkpoint or tokenizer, by name or folder.", positional=True)
    output: str = option(help="Folder for the graphs.", positional=True)
    seconds: float = option(
        1.0, "Length of the example in seconds. It is the only length of a graph that cannot take another."
    )
    steps: int | None = option(None, "Denoising steps of CoDiCodec's decoder. By default those of parallel decoding.")

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 60:
            raise ValueError(f"seconds must be above 0 and at most 60, got {self.seconds}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


def export_model(config: ExportConfig) -> dict[str, Any]:
    """Exports the networks of a generator's step and the decoder of a codec as ONNX and as a program of `torch.export`.

    Each graph is run by ONNX Runtime and compared with PyTorch before it is kept.

    Args:
        config: what to export, and to where.

    Returns:
        What `export.json` holds: the graphs with their inputs and errors, and what is not exported, with the reason.

    Raises:
        MissingPackageError: a package of the extra `export` is missing.
        CheckpointError: no model has this name, or none of its parts can be exported.
        ValueError: the output holds something else.
        TypeError: `steps` of a codec whose decoder takes none.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(package, "export", "an export")
    refuse_strangers(config.output, OWN, "the export", mark=MANIFEST)
    made: dict[str, Any] = {"model": config.model, "graphs": {}, "refused": {}}
    tokenizer, generator = _load(config.model)
    spec = tokenizer.spec
    frames = spec.nearest_chunks(config.seconds) * spec.chunk_latents
    with atomic_folder(config.output) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's own serialization
        for name, graph in _graphs(tokenizer, generator, {} if config.steps is None else {"steps": config.steps}):
            if isinstance(graph, str):
                made["refused"][name] = graph
                continue
            try:
                units = max(2, -(-frames // graph.frame_multiple))
                made["graphs"][name] = export_graph(graph, folder, units * graph.frame_multiple)
            except GraphError as error:
                made["refused"][name] = str(error)
                for path in folder.glob(f"{name}.*"):  # what was written of it
                    path.unlink()
        if not made["graphs"]:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in made["refused"].items())
            raise CheckpointError(f"no part of {config.model} can be exported ({reasons})")
        write_json(folder / MANIFEST, made)
    return made


def _load(name: str) -> tuple[AudioTokenizer, LatentGenerator | None]:
    try:
        pipeline = load_pipeline(name)
    except (CheckpointError, ConfigError) as no_pipeline:
        try:
            return load_tokenizer(name), None
        except (CheckpointError, ConfigError):
            raise CheckpointError(f"{name} is neither a pipeline nor a tokenizer ({no_pipeline})") from no_pipeline
    return pipeline.tokenizer, pipeline.generator


def _graphs(
    tokenizer: AudioTokenizer, generator: LatentGenerator | None, decoder_options: dict[str, Any]
) -> Iterator[tuple[str, Graph | str]]:
    """Yields the name of each part with its graph, or with the reason that there is none."""
    try:
        yield "decoder", tokenizer.decoder_graph(**decoder_options)
    except ValueError as error:
        yield "decoder", str(error)
    if generator is None:
        return
    try:
        graphs = generator.graphs()
    except ValueError as error:
        yield "step", str(error)
        return
    yield from ((graph.name, graph) for graph in graphs)
