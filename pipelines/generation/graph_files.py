"""One graph as the files of other runtimes, checked against PyTorch before they are kept."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.graphs import Graph

logger = logging.getLogger(__name__)

LARGEST_ERROR = 1e-3  # of a graph's results, in units of the largest value of PyTorch's
MOST_ITEMS = 2**14  # of the axes that are not of time


class GraphError(Exception):
    """A graph that cannot be made, or that is not right."""


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
        GraphError: the graph cannot be made, or computes something else.
    """
    inputs = graph.make_inputs(frames)
    if frames > graph.most_frames:
        raise GraphError(f"{frames} frames are more than its {graph.most_frames}: ask for fewer seconds")
    program, free = _program(graph, inputs)
    longer = [frames + graph.frame_multiple, 3 * frames] if free else []
    others = [frames, *(length for length in longer if length <= graph.most_frames)]
    torch.export.save(program, folder / f"{graph.name}.pt2")
    try:
        onnx: Any = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=list(inputs), output_names=list(graph.outputs)
        )
    except Exception as error:
        raise GraphError(f"ONNX has no form of it ({_first_line(_root(error))})") from error
    onnx.save(folder / f"{graph.name}.onnx")
    errors = {
        "pt2": max(_error(graph, length, lambda values: program.module()(*values)) for length in others),
        "onnx": max(_error(graph, length, _runtime(folder / f"{graph.name}.onnx")) for length in others),
    }
    if max(errors.values()) > LARGEST_ERROR:
        raise GraphError(f"its results differ from PyTorch's by {max(errors.values()):.2g} of the largest value")
    return {
        "files": sorted(path.name for path in folder.glob(f"{graph.name}.*")),
        "inputs": {name: _shape(name, value, graph if free else None) for name, value in inputs.items()},
        "outputs": list(graph.outputs),
        "largest_error": errors,
        "lengths_checked": others,
    }


def _program(graph: Graph, inputs: dict[str, Tensor]) -> tuple[Any, bool]:
    """Returns the exported program, and whether its free axes are free."""
    dims: dict[str, Any] = {"batch": torch.export.Dim("batch", min=1, max=MOST_ITEMS)}
    if graph.frame_multiple == 1:
        dims["frames"] = torch.export.Dim("frames", min=2, max=graph.most_frames)
    else:
        dims["units"] = torch.export.Dim("units", min=2, max=graph.most_frames // graph.frame_multiple)
        dims["frames"] = graph.frame_multiple * dims["units"]
    for name in {name for axes in graph.free_axes.values() for name in axes.values()} - dims.keys():
        dims[name] = torch.export.Dim(name, min=2, max=MOST_ITEMS)
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
        raise GraphError(f"it cannot be traced ({_first_line(error)})") from error


def _trace(graph: Graph, inputs: dict[str, Tensor], shapes: Any) -> Any:
    values = tuple(inputs.values())
    wanted = (shapes,) if shapes is not None and _variadic(graph) else shapes
    return torch.export.export(graph.network.eval(), values, dynamic_shapes=wanted, strict=False)


def _variadic(graph: Graph) -> bool:
    return bool(graph.network.forward.__code__.co_flags & 0x04)


def _runtime(path: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(values: list[Tensor]) -> list[Tensor]:
        given = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return [torch.from_numpy(np.asarray(made)) for made in session.run(None, given)]

    return run


def _error(graph: Graph, frames: int, run: Any) -> float:
    """Returns the largest difference from PyTorch in units of each output's largest value; inf where there is NaN."""
    values = list(graph.make_inputs(frames).values())
    errors = []
    for made, wanted in zip(_several(run(values)), _several(graph.network(*values)), strict=True):
        error = float((made - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
        errors.append(error if error == error else float("inf"))
    return max(errors)


def _several(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _shape(name: str, value: Tensor, graph: Graph | None) -> dict[str, Any]:
    """Returns type and shape of an input; the names of free sizes stand in for them."""
    free = {} if graph is None else graph.free_axes.get(name, {})
    return {
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": [free.get(i, n) for i, n in enumerate(value.shape)],
    }


def _root(error: BaseException) -> BaseException:
    """Returns the first error of a chain, which names the operator; the last only says that a conversion failed."""
    return error if error.__cause__ is None else _root(error.__cause__)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
