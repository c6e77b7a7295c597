"""Folded weight norm computes what torch's own forms compute."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from latentune.core.errors import CheckpointError
from latentune.layers.weight_norm import fold_state_dict, fold_weight_norm


def plain_and_normed(kind: str, form: str) -> tuple[nn.Module, nn.Module]:
    """A layer, and one with random weight norm of the same size, which for a transposed one is over its inputs."""
    torch.manual_seed(0)
    layers = [nn.ConvTranspose1d(3, 5, 4) if kind == "transposed" else nn.Conv1d(3, 5, 4) for _ in range(2)]
    if form == "old":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            normed = nn.utils.weight_norm(layers[1])
    else:
        normed = nn.utils.parametrizations.weight_norm(layers[1])
    for parameter in normed.parameters():
        nn.init.normal_(parameter)
    return layers[0], normed


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize("kind", ["plain", "transposed"])
def test_a_folded_layer_computes_the_same(kind: str, form: str) -> None:
    plain, normed = plain_and_normed(kind, form)
    plain.load_state_dict(fold_state_dict(normed.state_dict()), strict=True)
    x = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(plain(x), normed(x), atol=1e-6, rtol=1e-6)


def test_other_keys_pass_untouched() -> None:
    state = {"a.weight": torch.ones(2), "b.bias": torch.zeros(1)}
    assert fold_state_dict(state) == state


def test_half_a_pair_and_misfits_are_named() -> None:
    g, v = torch.ones(5, 1, 1), torch.ones(5, 3, 4)
    with pytest.raises(CheckpointError, match=r"conv\.weight_g but no conv\.weight_v"):
        fold_state_dict({"conv.weight_g": g})
    with pytest.raises(CheckpointError, match=r"conv\.weight_v but no conv\.weight_g"):
        fold_state_dict({"conv.weight_v": v})
    with pytest.raises(CheckpointError, match="weight norm of conv"):
        fold_state_dict({"conv.weight_g": g[:3], "conv.weight_v": v})
    with pytest.raises(ValueError, match="does not fit"):
        fold_weight_norm(torch.ones(5), v)
