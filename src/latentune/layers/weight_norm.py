"""Weight norm (Salimans & Kingma, arXiv 1602.07868) folded away: checkpoints hold g and v, our layers hold W."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.errors import CheckpointError

# names of g and v in torch's old hook and in its newer parametrisation
SPELLINGS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def fold_weight_norm(g: Tensor, v: Tensor) -> Tensor:
    """Returns W = g * v / ||v||; the norm is over every axis but axis 0 (of a transposed convolution, its input).

    Args:
        g: [v.shape[0], 1, ...], one gain for each slice of v along axis 0.
        v: directions.

    Returns:
        The weight, in the shape of `v`.

    Raises:
        ValueError: g has another shape.
    """
    if g.shape != (len(v), *[1] * (v.ndim - 1)):
        raise ValueError(f"gain of shape {tuple(g.shape)} does not fit directions of shape {tuple(v.shape)}")
    norm: Tensor = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    return v * (g / norm)


def fold_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a state dict with each pair of `X.weight_g` and `X.weight_v` (or torch's newer names) as one `X.weight`.

    Raises:
        CheckpointError: half of a pair is missing, or a pair does not fit.
    """
    folded = dict(state)
    for g_name, v_name in SPELLINGS:
        g_layers, v_layers = _layers_with(folded, g_name), _layers_with(folded, v_name)
        for layer in g_layers ^ v_layers:
            has, lacks = (g_name, v_name) if layer in g_layers else (v_name, g_name)
            raise CheckpointError(f"the checkpoint has {layer}{has} but no {layer}{lacks}")
        for layer in g_layers:
            try:
                folded[f"{layer}weight"] = fold_weight_norm(folded.pop(layer + g_name), folded.pop(layer + v_name))
            except ValueError as error:
                raise CheckpointError(f"weight norm of {layer}weight: {error}") from error
    return folded


def _layers_with(state: Mapping[str, Tensor], name: str) -> set[str]:
    """Returns the prefixes, "" or such as "encoder.conv.", of the keys called `name`."""
    return {key.removesuffix(name) for key in state if key == name or key.endswith(f".{name}")}
