"""Symbols over frames: every symbol has its part, order is kept, and neighbors in a batch have no effect."""

import pytest
import torch

from latentune.generators.conditioning.spread import frame_shares, lay_out


@pytest.mark.parametrize(("symbols", "frames"), [(1, 1), (1, 7), (3, 7), (7, 7), (7, 3), (40, 1), (64, 301)])
def test_every_symbol_lasts_equally_long_and_every_frame_is_full(symbols: int, frames: int) -> None:
    shares = frame_shares(torch.ones(1, symbols), torch.tensor([frames]), frames)[0]
    torch.testing.assert_close(shares.sum(1), torch.ones(frames))
    torch.testing.assert_close(shares.sum(0), torch.full((symbols,), frames / symbols), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weights", [torch.ones(13), torch.linspace(0.1, 4.0, 13)])
def test_symbols_come_in_order_and_without_gaps(weights: torch.Tensor) -> None:
    shares = frame_shares(weights[None], torch.tensor([50]), 50)[0]
    middles = (shares * torch.arange(50)[:, None]).sum(0) / shares.sum(0)
    assert (middles.diff() >= 0).all()
    for of_symbol in shares.T:
        where = of_symbol.nonzero()[:, 0]
        assert where[-1] - where[0] + 1 == len(where)


def test_padding_and_other_items_have_no_effect() -> None:
    torch.manual_seed(0)
    symbols, mask = torch.randn(2, 9, 4), torch.arange(9) < torch.tensor([[9], [4]])
    weights = torch.rand(2, 9).add(0.1) * mask
    lengths = torch.tensor([20, 11])
    together = lay_out(symbols, weights, lengths, 24)
    alone = lay_out(symbols[1:, :4], weights[1:, :4], lengths[1:], 11)
    torch.testing.assert_close(together[1, :11], alone[0])
    assert not together[1, 11:].any()
    assert not together[0, 20:].any()
    noisy = torch.where(mask[..., None], symbols, torch.randn(2, 9, 4))
    torch.testing.assert_close(lay_out(noisy, weights, lengths, 24), together)


def test_a_single_symbol_is_every_frame() -> None:
    symbols, weights = torch.randn(1, 3, 2), torch.tensor([[0.3, 0.0, 0.0]])
    laid = lay_out(symbols, weights, torch.tensor([5]), 5)
    torch.testing.assert_close(laid, symbols[:, :1].expand(1, 5, 2))


def test_a_symbol_is_as_long_as_its_weight() -> None:
    weights = torch.tensor([[1.0, 4.0, 0.0], [3.0, 3.0, 2.0]])
    shares = frame_shares(weights, torch.tensor([10, 8]), 10)
    torch.testing.assert_close(shares.sum(1), torch.tensor([[2.0, 8.0, 0.0], [3.0, 3.0, 2.0]]))
    torch.testing.assert_close(frame_shares(5 * weights, torch.tensor([10, 8]), 10), shares)


def test_weights_are_learned_from_frames() -> None:
    symbols = torch.eye(3)[None]
    wanted = lay_out(symbols, torch.tensor([[1.0, 6.0, 2.0]]), torch.tensor([27]), 27)
    logs = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([logs], 0.05)
    for _ in range(200):
        loss = (lay_out(symbols, logs.exp(), torch.tensor([27]), 27) - wanted).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shares = torch.softmax(logs.detach(), 1)
    torch.testing.assert_close(shares, torch.tensor([[1.0, 6.0, 2.0]]) / 9, atol=0.01, rtol=0)
