"""Symbols over frames: every symbol has its part, order is kept, and neighbors in a batch have no effect."""

import pytest
import torch

from latentune.generators.conditioning.spread import frame_shares, lay_out


@pytest.mark.parametrize(("symbols", "frames"), [(1, 1), (1, 7), (3, 7), (7, 7), (7, 3), (40, 1), (64, 301)])
def test_every_symbol_lasts_equally_long_and_every_frame_is_full(symbols: int, frames: int) -> None:
    shares = frame_shares(torch.tensor([symbols]), torch.tensor([frames]), symbols, frames)[0]
    torch.testing.assert_close(shares.sum(1), torch.ones(frames))
    torch.testing.assert_close(shares.sum(0), torch.full((symbols,), frames / symbols), rtol=1e-3, atol=1e-3)


def test_symbols_come_in_order_and_without_gaps() -> None:
    shares = frame_shares(torch.tensor([13]), torch.tensor([50]), 13, 50)[0]
    middles = (shares * torch.arange(50)[:, None]).sum(0) / shares.sum(0)
    assert (middles.diff() > 0).all()
    for of_symbol in shares.T:
        where = of_symbol.nonzero()[:, 0]
        assert where[-1] - where[0] + 1 == len(where)


def test_padding_and_other_items_have_no_effect() -> None:
    torch.manual_seed(0)
    symbols, mask = torch.randn(2, 9, 4), torch.arange(9) < torch.tensor([[9], [4]])
    lengths = torch.tensor([20, 11])
    together = lay_out(symbols, mask, lengths, 24)
    alone = lay_out(symbols[1:, :4], mask[1:, :4], lengths[1:], 11)
    torch.testing.assert_close(together[1, :11], alone[0])
    assert not together[1, 11:].any()
    assert not together[0, 20:].any()
    noisy = torch.where(mask[..., None], symbols, torch.randn(2, 9, 4))
    torch.testing.assert_close(lay_out(noisy, mask, lengths, 24), together)


def test_a_single_symbol_is_every_frame() -> None:
    symbols, mask = torch.randn(1, 3, 2), torch.tensor([[True, False, False]])
    laid = lay_out(symbols, mask, torch.tensor([5]), 5)
    torch.testing.assert_close(laid, symbols[:, :1].expand(1, 5, 2))
