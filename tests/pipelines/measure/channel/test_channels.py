"""Channels do what their definitions say, within statistical bounds, and the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from latentune.pipelines.measure.channel.channel import (
    BIT_CHANNELS,
    CHANNELS,
    binary_symmetric,
    erasure,
    gilbert_elliott,
    lose_packets,
    move_levels,
    noise_deviation,
    white_noise,
)

COUNT = 200_000
FIVE_SIGMA = 5.0


def bits(seed: int = 0) -> torch.Tensor:
    return torch.rand(COUNT // 16, 16, generator=torch.Generator().manual_seed(seed)) < 0.5


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bound(p: float, count: int = COUNT) -> float:
    return FIVE_SIGMA * (p * (1 - p) / count) ** 0.5


@pytest.mark.parametrize("name", sorted(BIT_CHANNELS))
def test_same_seed_same_bits_and_nothing_at_zero(name: str) -> None:
    channel, sent = BIT_CHANNELS[name], bits()
    first, again, other = (channel(sent, 0.1, generator(seed)).bits for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    received = channel(sent, 0.0, generator())
    assert torch.equal(received.bits, sent)
    assert float(received.flip_probability.max()) == 0
    assert channel(sent[:0], 0.1, generator()).bits.shape == (0, 16)


@pytest.mark.parametrize("p", [0.001, 0.05, 0.5])
def test_the_symmetric_channel_flips_a_share_p_of_zeros_and_of_ones(p: float) -> None:
    sent = bits()
    flipped = binary_symmetric(sent, p, generator()).bits != sent
    for side in (flipped[sent], flipped[~sent]):
        assert side.double().mean().item() == pytest.approx(p, abs=bound(p, len(side)))
    assert torch.equal(binary_symmetric(sent, 1.0, generator()).bits, ~sent)


def test_erased_bits_are_known_and_stand_for_coins() -> None:
    sent = bits()
    received = erasure(sent, 0.2, generator())
    erased = received.flip_probability == 0.5
    assert set(received.flip_probability.unique().tolist()) == {0.0, 0.5}
    assert erased.double().mean().item() == pytest.approx(0.2, abs=bound(0.2))
    assert torch.equal(received.bits[~erased], sent[~erased])
    wrong = (received.bits != sent)[erased].double().mean().item()
    assert wrong == pytest.approx(0.5, abs=bound(0.5, int(erased.sum())))


@pytest.mark.parametrize("p", [0.01, 0.1])
def test_bursts_have_the_share_and_the_length_that_were_asked_for(p: float) -> None:
    sent, burst_bits = bits(), 25.0
    flips = (gilbert_elliott(sent, p, generator(), burst_bits=burst_bits).bits != sent).flatten()
    # neighbouring states are alike, so that a mean is worth about 2 * burst_bits times fewer independent bits
    assert flips.double().mean().item() == pytest.approx(p, abs=bound(p, int(COUNT / (2 * burst_bits))))
    # flips i bits apart: P(bad) * (P(bad) + (1 - P(bad)) * lambda ** i) / 4, lambda = 1 - enter - leave
    bad, leave = 2 * p, 1 / burst_bits
    keep = 1 - leave - leave * bad / (1 - bad)
    for apart in (1, 10):
        together = (flips[:-apart] & flips[apart:]).double().mean().item()
        assert together == pytest.approx(bad * (bad + (1 - bad) * keep**apart) / 4, rel=0.25)
    assert together > 3 * p**2, "they come in bursts"


def test_packets_are_lost_independently() -> None:
    lost = lose_packets(COUNT, 0.1, generator())
    assert lost.double().mean().item() == pytest.approx(0.1, abs=bound(0.1))
    assert (lost[:-1] & lost[1:]).double().mean().item() == pytest.approx(0.01, abs=bound(0.01))
    assert torch.equal(lost, lose_packets(COUNT, 0.1, generator()))
    assert not lose_packets(5, 0.0, generator()).any()
    assert lose_packets(5, 1.0, generator()).all()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    for channel in BIT_CHANNELS.values():
        with pytest.raises(ValueError, match=r"probability in \[0, 1\]"):
            channel(bits(), p, generator())
    with pytest.raises(ValueError, match=r"probability in \[0, 1\]"):
        lose_packets(3, p, generator())


def test_bursts_that_cannot_be_are_refused() -> None:
    for p in (0.5, 0.6):
        with pytest.raises(ValueError, match=r"below 0.5"):
            gilbert_elliott(bits(), p, generator())
    with pytest.raises(ValueError, match=r"at least 5"):
        gilbert_elliott(bits(), 0.4, generator(), burst_bits=4.0)
    with pytest.raises(ValueError, match="at least"):
        gilbert_elliott(bits(), 0.01, generator(), burst_bits=0.5)
    assert set(CHANNELS) == {"bsc", "erasure", "gilbert-elliott", "awgn", "levels", "packet"}


@pytest.mark.parametrize("p", [0.001, 0.05, 0.3])
def test_white_noise_flips_a_share_p_and_its_receiver_knows_which_bits_to_doubt(p: float) -> None:
    sent = bits()
    received = white_noise(sent, p, generator())
    wrong = (received.bits != sent).double()
    assert wrong.mean().item() == pytest.approx(p, abs=bound(p))
    for low, high in ((0.0, 0.02), (0.02, 0.2), (0.2, 0.5)):  # what the receiver believes is how often it is wrong
        group = (received.flip_probability > low) & (received.flip_probability <= high)
        if int(group.sum()) > 500:
            expected = received.flip_probability[group].mean().item()
            assert wrong[group].mean().item() == pytest.approx(expected, abs=bound(expected, int(group.sum())))
    assert float(received.flip_probability.max()) <= 0.5


def test_the_noise_for_a_share_of_errors_is_that_of_the_q_function() -> None:
    assert noise_deviation(0.15865525393145707) == pytest.approx(1.0)  # Q(1)
    assert noise_deviation(0.022750131948179195) == pytest.approx(0.5)  # Q(2)
    assert noise_deviation(0.0) == 0.0
    for p in (0.5, 0.7):
        with pytest.raises(ValueError, match=r"below 0.5"):
            white_noise(bits(), p, generator())


@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_digits_move_by_exactly_the_distance_and_stay_within_their_levels(distance: int) -> None:
    sizes = torch.tensor([2, 4, 8])
    digits = (torch.rand(20_000, 3, generator=generator()) * sizes).long()
    moved = move_levels(digits, sizes, distance, 0.25, generator())
    shift = (moved - digits).abs()
    assert set(shift.unique().tolist()) <= {0, distance}
    assert bool(((moved >= 0) & (moved < sizes)).all())
    room = (digits + distance < sizes) | (digits - distance >= 0)
    assert not shift[~room].any()
    assert (shift[room] > 0).double().mean().item() == pytest.approx(0.25, abs=bound(0.25, int(room.sum())))
    assert torch.equal(move_levels(digits, sizes, distance, 0.0, generator()), digits)
