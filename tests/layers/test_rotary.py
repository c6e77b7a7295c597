"""Rotary positions: rotations that depend on distance alone, and agree with x-transformers'."""

import pytest
import torch
from x_transformers.x_transformers import RotaryEmbedding, apply_rotary_pos_emb

from latentune.layers.rotary import rotary_angles, rotary_for_x_transformers, rotate_pairs


def test_dot_products_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))

    def score(a: int, b: int) -> torch.Tensor:
        return (
            rotate_pairs(q, rotary_angles(torch.tensor([a]), 8, 100.0))
            * rotate_pairs(k, rotary_angles(torch.tensor([b]), 8, 100.0))
        ).sum()

    torch.testing.assert_close(score(3, 7), score(103, 107))
    assert not torch.isclose(score(3, 7), score(3, 8))


def test_lengths_are_kept_and_position_zero_is_the_identity() -> None:
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    turned = rotate_pairs(x, rotary_angles(torch.arange(5), 6, 10.0))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, 0], x[:, 0])


def test_both_forms_turn_alike() -> None:
    x = torch.randn(1, 2, 7, 8, generator=torch.Generator().manual_seed(0))
    freqs, scale = rotary_for_x_transformers(7, 8, 10_000.0, x)
    theirs, _ = RotaryEmbedding(8)(torch.arange(7))
    torch.testing.assert_close(freqs, theirs)
    ours = rotate_pairs(x, rotary_angles(torch.arange(7), 8, 10_000.0))
    torch.testing.assert_close(apply_rotary_pos_emb(x, freqs, scale), ours)


def test_an_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="must be even"):
        rotary_angles(torch.arange(3), 5, 10.0)
