"""Writes networks as graphs for other runtimes: `latentune export` as a function."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.config import option
from ..core.errors import CheckpointError, ConfigError
from ..core.extras import import_extra
from ..core.files import write_json
from ..core.folders import atomic_folder, refuse_strangers
from ..core.graphs import Graph
from ..generators.base import LatentGenerator
from ..tokenizers.base import AudioTokenizer
from ..tokenizers.load import load_tokenizer
from .generation.load import load_pipeline

logger = logging.getLogger(__name__)

MANIFEST = "export.json"
OWN = (MANIFEST, "decoder.*", "step.*")  # names of what is written
LARGEST_ERROR = 1e-3  # of a graph's result, in units of the largest value of PyTorch's
MOST_ITEMS = 2**14  # of the axes that are not of time


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The options of `latentune export`."""

    model: str = option(help="Pipeline, training run, checkpoint or tokenizer, by name or folder.", positional=True)
    output: str = option(help="Folder for the graphs.", positional=True)
    seconds: float = option(
        1.0, "Length of the example in seconds. It is the only length of a graph that cannot take another."
    )

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 60:
            raise ValueError(f"seconds must be above 0 and at most 60, got {self.seconds}")


def export_model(config: ExportConfig) -> dict[str, Any]:
    """Exports the step of a generator and the decoder of a codec as ONNX and as a program of `torch.export`.

    Each graph is run by ONNX Runtime and compared with PyTorch before it is kept.

    Args:
        config: what to export, and to where.

    Returns:
        What `export.json` holds: the graphs with their inputs and errors, and what is not exported, with the reason.

    Raises:
        MissingPackageError: a package of the extra `export` is missing.
        CheckpointError: there is no model of this name, or none of its parts can be exported.
        ValueError: the output holds something else.
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
        for name, graph in _graphs(tokenizer, generator):
            if isinstance(graph, str):
                made["refused"][name] = graph
                continue
            try:
                made["graphs"][name] = export_graph(graph, folder, max(frames, 2 * graph.frame_multiple))
            except _ExportError as error:
                made["refused"][name] = str(error)
                for path in folder.glob(f"{name}.*"):  # what was written of it
                    path.unlink()
        if not made["graphs"]:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in made["refused"].items())
            raise CheckpointError(f"no part of {config.model} can be exported ({reasons})")
        write_json(folder / MANIFEST, made)
    return made


class _ExportError(Exception):
    """A graph that cannot be made, or that is not right."""


class _Decoder(nn.Module):
    def __init__(self, codec: AudioTokenizer):
        super().__init__()
        self.codec: Any = codec

    def forward(self, latents: Tensor) -> Tensor:
        audio: Tensor = self.codec.latents_to_audio(latents)
        return audio


def decoder_graph(codec: AudioTokenizer) -> Graph:
    """Returns the graph of a codec's decoder: latents [B, T, D] to audio [B, C, N].

    Raises:
        ValueError: the decoder is not one pass of a network.
    """
    spec = codec.spec

    def make_inputs(frames: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(frames)
        return {"latents": torch.randn(2, frames, spec.latent_dim, generator=generator)}

    codec.latents_to_audio(make_inputs(2 * spec.chunk_latents)["latents"])
    return Graph(
        name="decoder",
        network=_Decoder(codec),
        make_inputs=make_inputs,
        free_axes={"latents": {0: "batch", 1: "frames"}},
        output="audio",
        frame_multiple=spec.chunk_latents,
    )


@torch.no_grad()
def export_graph(graph: Graph, folder: Path, frames: int) -> dict[str, Any]:
    """Writes one graph as `NAME.onnx` and `NAME.pt2`, and checks both.

    Args:
        graph: the network and its inputs.
        folder: to write to.
        frames: length of the example in latent frames.

    Returns:
        Its facts: files, inputs with their axes, output, and the largest error of each file.

    Raises:
        _ExportError: the graph cannot be made, or computes something else.
    """
    inputs = graph.make_inputs(frames)
    if frames > graph.most_frames:
        raise _ExportError(f"{frames} frames are more than its {graph.most_frames}: ask for fewer seconds")
    program, free = _program(graph, inputs)
    longer = [frames + graph.frame_multiple, 3 * frames] if free else []
    others = [frames, *(length for length in longer if length <= graph.most_frames)]
    torch.export.save(program, folder / f"{graph.name}.pt2")
    try:
        onnx: Any = torch.onnx.export(program, dynamo=True, verbose=False, input_names=list(inputs))
    except Exception as error:
        raise _ExportError(f"ONNX has no form of it ({_first_line(error)})") from error
    onnx.save(folder / f"{graph.name}.onnx")
    errors = {
        "pt2": max(_error(graph, length, lambda values: program.module()(*values)) for length in others),
        "onnx": max(_error(graph, length, _runtime(folder / f"{graph.name}.onnx")) for length in others),
    }
    if max(errors.values()) > LARGEST_ERROR:
        raise _ExportError(f"its results differ from PyTorch's by {max(errors.values()):.2g} of the largest value")
    return {
        "files": sorted(path.name for path in folder.glob(f"{graph.name}.*")),
        "inputs": {name: _shape(name, value, graph if free else None) for name, value in inputs.items()},
        "output": graph.output,
        "largest_error": errors,
        "lengths_checked": others,
    }


def _load(name: str) -> tuple[AudioTokenizer, LatentGenerator | None]:
    try:
        pipeline = load_pipeline(name)
    except (CheckpointError, ConfigError) as no_pipeline:
        try:
            return load_tokenizer(name), None
        except (CheckpointError, ConfigError):
            raise CheckpointError(f"{name} is neither a pipeline nor a tokenizer ({no_pipeline})") from no_pipeline
    return pipeline.tokenizer, pipeline.generator


def _graphs(tokenizer: AudioTokenizer, generator: LatentGenerator | None) -> Iterator[tuple[str, Graph | str]]:
    """Yields the name of each part with its graph, or with the reason that there is none."""
    parts: list[tuple[str, Callable[[], Graph]]] = [("decoder", lambda: decoder_graph(tokenizer))]
    if generator is not None:
        parts.append(("step", generator.graph))
    for name, make in parts:
        try:
            yield name, make()
        except ValueError as error:
            yield name, str(error)


def _program(graph: Graph, inputs: dict[str, Tensor]) -> tuple[Any, bool]:
    """Returns the exported program, and whether its free axes are free."""
    dims: dict[str, Any] = {}
    for axes in graph.free_axes.values():
        for name in axes.values():
            if name == "frames" and graph.frame_multiple > 1:
                chunks = torch.export.Dim("chunks", min=2, max=graph.most_frames // graph.frame_multiple)
                dims.setdefault(name, graph.frame_multiple * chunks)
            else:
                most = graph.most_frames if name == "frames" else MOST_ITEMS
                dims.setdefault(name, torch.export.Dim(name, min=1 if name == "batch" else 2, max=most))
    shapes = tuple(
        {axis: dims[name] for axis, name in graph.free_axes.get(value, {}).items()} or None for value in inputs
    )
    try:
        return _trace(graph, inputs, shapes), True
    except Exception as error:
        logger.info("%s takes one length: %s", graph.name, _first_line(error))
    try:
        return _trace(graph, inputs, None), False
    except Exception as error:
        raise _ExportError(f"it cannot be traced ({_first_line(error)})") from error


def _trace(graph: Graph, inputs: dict[str, Tensor], shapes: Any) -> Any:
    values = tuple(inputs.values())
    wanted = None if shapes is None else (shapes if len(shapes) == 1 and not _variadic(graph) else (shapes,))
    return torch.export.export(graph.network.eval(), values, dynamic_shapes=wanted, strict=False)


def _variadic(graph: Graph) -> bool:
    return bool(graph.network.forward.__code__.co_flags & 0x04)


def _runtime(path: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(values: list[Tensor]) -> Tensor:
        given = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return torch.from_numpy(np.asarray(session.run(None, given)[0]))

    return run


def _error(graph: Graph, frames: int, run: Any) -> float:
    """Returns the largest difference from PyTorch in units of its largest value; inf where there is NaN."""
    values = list(graph.make_inputs(frames).values())
    wanted = graph.network(*values)
    made = run(values)
    error = float((made - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
    return error if error == error else float("inf")


def _shape(name: str, value: Tensor, graph: Graph | None) -> dict[str, Any]:
    """Returns type and shape of an input; the names of free sizes stand in for them."""
    free = {} if graph is None else graph.free_axes.get(name, {})
    return {
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": [free.get(i, n) for i, n in enumerate(value.shape)],
    }


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
