"""Channels that damage bits, move levels or lose packets: pure functions with an explicit random generator.

Shape letters: T token frames, K chunks, W digits of a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

COIN = 0.5  # probability that an erased bit, or one of a burst, is wrong


@dataclass(frozen=True, kw_only=True)
class Received:
    """Received bits, and what the receiver knows about their errors."""

    bits: Tensor  # bool, of the shape that was sent
    flip_probability: Tensor  # float64, [] or of that shape: how likely each bit is wrong, as the receiver knows it


def check_probability(p: float, name: str = "p") -> None:
    """Raises ValueError unless `p` lies in [0, 1]."""
    if not 0.0 <= p <= 1.0:  # NaN fails too
        raise ValueError(f"{name} must be a probability in [0, 1], got {p}")


def binary_symmetric(bits: Tensor, p: float, generator: torch.Generator) -> Received:
    """Flips each bit with probability `p`, independently of all others.

    Args:
        bits: bool of any shape.
        p: probability that a bit flips.
        generator: of the draws.

    Returns:
        The received bits; the receiver knows `p`.

    Raises:
        ValueError: p outside [0, 1].
    """
    check_probability(p)
    return Received(bits=bits ^ (_uniform(bits, generator) < p), flip_probability=torch.tensor(p, dtype=torch.float64))


def erasure(bits: Tensor, p: float, generator: torch.Generator) -> Received:
    """Erases each bit with probability `p`, independently of all others.

    Args:
        bits: bool of any shape.
        p: probability that a bit is erased.
        generator: of the draws.

    Returns:
        The received bits, with a random bit for each erased one; the receiver knows which ones are erased.

    Raises:
        ValueError: p outside [0, 1].
    """
    check_probability(p)
    erased = _uniform(bits, generator) < p
    coins = _uniform(bits, generator) < COIN
    return Received(bits=torch.where(erased, coins, bits), flip_probability=COIN * erased.double())


def gilbert_elliott(bits: Tensor, p: float, generator: torch.Generator, *, burst_bits: float = 20.0) -> Received:
    """Flips bits in bursts: a Markov chain of a good state without errors and a bad one where every bit is random.

    The chain runs over the bits in the order of memory, starts in its stationary state, and is bad for the share
    2 * p of the time, so that a share `p` of all bits is flipped. The receiver knows that share, not the state.

    Args:
        bits: bool of any shape.
        p: share of bits flipped, below 1/2.
        generator: of the draws.
        burst_bits: mean length of a stay in the bad state.

    Returns:
        The received bits.

    Raises:
        ValueError: p outside [0, 1/2), or bursts shorter than chance alone would make them.
    """
    check_bursts(p, burst_bits)
    bad_share = p / COIN
    leave = 1 / burst_bits
    enter = leave * bad_share / (1 - bad_share)
    # One uniform number per bit: low ones enter the bad state, high ones leave it, whatever the state was, and those
    # between keep it. So the state of a bit is that of the last bit before it whose number decides.
    chance = _uniform(bits, generator).flatten()
    enters, leaves = chance < enter, chance >= 1 - leave
    if len(chance):
        starts_bad = torch.rand((), generator=generator, device=generator.device).item() < bad_share
        enters[0], leaves[0] = starts_bad, not starts_bad
    places = torch.arange(len(chance), device=chance.device)
    last = torch.where(enters | leaves, places, 0).cummax(0).values if len(chance) else places
    flips = enters[last].reshape(bits.shape) & (_uniform(bits, generator) < COIN)
    return Received(bits=bits ^ flips, flip_probability=torch.tensor(p, dtype=torch.float64))


def check_bursts(p: float, burst_bits: float) -> None:
    """Raises ValueError unless `gilbert_elliott` can flip a share `p` of the bits in bursts of that mean length."""
    check_probability(p)
    if p >= COIN:
        raise ValueError(
            f"p must be below {COIN} for the Gilbert-Elliott channel, in whose bursts half of the bits flip; got {p}"
        )
    bad_share = p / COIN
    if burst_bits < 1 or burst_bits * (1 - bad_share) < 1:
        least = max(1.0, 1 / (1 - bad_share))
        raise ValueError(f"bursts of {burst_bits} bits are shorter than chance makes them at p = {p}: at least {least}")


def white_noise(bits: Tensor, p: float, generator: torch.Generator) -> Received:
    """Sends each bit as -1 or +1 through white Gaussian noise (AWGN) that is strong enough to flip a share `p` of them.

    The deviation of the noise is the s for which Q(1 / s) = p, which is a ratio of bit energy to noise density of
    1 / (2 s ** 2). The receiver decides by the sign and knows from the amplitude y how likely each bit is wrong,
    1 / (1 + exp(2 |y| / s ** 2)).

    Args:
        bits: bool of any shape.
        p: share of bits flipped, below 1/2.
        generator: of the noise.

    Returns:
        The received bits, with a probability for each of them.

    Raises:
        ValueError: p outside [0, 1/2).
    """
    deviation = noise_deviation(p)
    noise = torch.randn(bits.shape, generator=generator, device=generator.device, dtype=torch.float64).to(bits.device)
    amplitude = torch.where(bits, 1.0, -1.0) + deviation * noise
    if not deviation:
        return Received(bits=bits.clone(), flip_probability=torch.zeros(bits.shape, dtype=torch.float64))
    return Received(bits=amplitude > 0, flip_probability=torch.sigmoid(-2 * amplitude.abs() / deviation**2))


def noise_deviation(p: float) -> float:
    """Returns the deviation of the noise that flips a share `p` of the signs of -1 and +1; 0 for none.

    Raises:
        ValueError: p outside [0, 1/2).
    """
    check_probability(p)
    if p >= COIN:
        raise ValueError(
            f"p must be below {COIN} for white noise, which never flips more than half of the bits; got {p}"
        )
    return -1 / torch.special.ndtri(torch.tensor(p, dtype=torch.float64)).item() if p else 0.0


def move_levels(digits: Tensor, num_levels: Tensor, distance: int, p: float, generator: torch.Generator) -> Tensor:
    """Moves each digit with probability `p` by exactly `distance` levels, up or down as chance has it.

    Where only one direction stays within the levels, it is that one; a digit without room for either stays.

    Args:
        digits: [T, W] int64.
        num_levels: [W] of each digit.
        distance: in levels, at least 1.
        p: probability that a digit is hit.
        generator: of the draws, which do not depend on the distance.

    Returns:
        Digits [T, W].

    Raises:
        ValueError: p outside [0, 1].
    """
    check_probability(p)
    hit, up = _uniform(digits, generator) < p, _uniform(digits, generator) < COIN
    first, second = (torch.where(side, digits + distance, digits - distance) for side in (up, ~up))
    moved = torch.where(_within(first, num_levels), first, torch.where(_within(second, num_levels), second, digits))
    return torch.where(hit, moved, digits)


def _within(digits: Tensor, num_levels: Tensor) -> Tensor:
    return (digits >= 0) & (digits < num_levels)


def lose_packets(num_packets: int, p: float, generator: torch.Generator) -> Tensor:
    """Draws which packets are lost: each with probability `p`, independently of all others.

    Args:
        num_packets: that are sent.
        p: probability that a packet is lost.
        generator: of the draws.

    Returns:
        [num_packets] bool on the CPU, which the receiver knows.

    Raises:
        ValueError: p outside [0, 1].
    """
    check_probability(p)
    return torch.rand(num_packets, generator=generator, device=generator.device, dtype=torch.float64).cpu() < p


def _uniform(bits: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1) of the shape of `bits`, the same on every device for a CPU generator."""
    return torch.rand(bits.shape, generator=generator, device=generator.device, dtype=torch.float64).to(bits.device)


BURST_CHANNEL = "gilbert-elliott"
NOISE_CHANNEL = "awgn"
BitChannel = Callable[[Tensor, float, torch.Generator], Received]
BIT_CHANNELS: dict[str, BitChannel] = {
    "bsc": binary_symmetric,
    "erasure": erasure,
    BURST_CHANNEL: gilbert_elliott,
    NOISE_CHANNEL: white_noise,
}
PACKET_CHANNEL = "packet"
LEVEL_CHANNEL = "levels"
CHANNELS = (*BIT_CHANNELS, LEVEL_CHANNEL, PACKET_CHANNEL)
