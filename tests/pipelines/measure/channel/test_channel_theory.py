"""The closed form against NeuCodec's table, polynomials derived by hand, and the simulated channel."""

from __future__ import annotations

import pytest
import torch

from latentune.pipelines.measure.channel.channel import binary_symmetric
from latentune.pipelines.measure.channel.labelling import Labelling
from latentune.pipelines.measure.channel.theory import channel_figures, transition_matrix

LEVELS = ((4,) * 8,)
# design/neucodec.md, section 12: P, id intact, level intact, at most one level off, rms shift
TABLE = [
    (0.001, 0.9841, 0.9980, 0.9990, 0.035),
    (0.01, 0.8515, 0.9801, 0.9900, 0.112),
    (0.05, 0.4401, 0.9025, 0.9512, 0.250),
    (0.1, 0.1853, 0.8100, 0.9050, 0.354),
]


@pytest.mark.parametrize(("p", "token", "level", "near", "rms"), TABLE)
def test_the_table_of_natural_binary(p: float, token: float, level: float, near: float, rms: float) -> None:
    found = channel_figures(LEVELS, "natural", p)
    assert found.token_intact == pytest.approx((1 - p) ** 16, rel=1e-12)
    assert found.digit_intact == pytest.approx((1 - p) ** 2, rel=1e-12)
    # the high bit is right, or both flip and 1 <-> 2 (half of the levels)
    assert found.digit_within_one == pytest.approx((1 - p) + p**2 / 2, rel=1e-12)
    # in levels: flips of +-1 and +-2; a code value is half a level
    assert found.digit_rms == pytest.approx((5 * p) ** 0.5, rel=1e-12)
    assert (found.token_intact, found.digit_intact) == pytest.approx((token, level), abs=6e-5)
    assert found.digit_within_one == pytest.approx(near, abs=6e-5)
    assert found.digit_rms / 2 == pytest.approx(rms, abs=6e-4)


@pytest.mark.parametrize("p", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_gray_by_hand(p: float) -> None:
    """Low bit alone: +-1. High bit alone: 0 <-> 3 or 1 <-> 2. Both: +-2."""
    found = channel_figures(LEVELS, "gray", p)
    low, high, both = p * (1 - p), p * (1 - p), p * p
    assert found.token_intact == pytest.approx((1 - p) ** 16, abs=1e-15)
    assert found.digit_intact == pytest.approx((1 - p) ** 2, abs=1e-15)
    assert found.digit_within_one == pytest.approx((1 - p) ** 2 + low + high / 2)
    assert found.digit_within_one == pytest.approx((1 - p) * (1 + p / 2))
    assert found.digit_rms**2 == pytest.approx(low + high * (9 + 1) / 2 + 4 * both)
    if p < 0.5:
        natural = channel_figures(LEVELS, "natural", p)
        assert found.digit_within_one > natural.digit_within_one, "Gray keeps more levels near"
        assert found.digit_rms > natural.digit_rms, "and pays with fewer, longer jumps"


@pytest.mark.parametrize("code", ["natural", "gray"])
@pytest.mark.parametrize("levels", [LEVELS, ((11,) * 4,), ((3, 5), (17,))])
@pytest.mark.parametrize("p", [0.01, 0.1])
def test_the_simulated_channel_agrees(levels: tuple[tuple[int, ...], ...], code: str, p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labelling, count = Labelling(levels, code), 20_000  # type: ignore[arg-type]
    digits = torch.stack([torch.randint(n, (count,), generator=generator) for n in labelling.word_levels], 1)
    sent = labelling.digits_to_tokens(digits)
    got, _ = labelling.bits_to_tokens(binary_symmetric(labelling.tokens_to_bits(sent), p, generator).bits)
    shift = (labelling.tokens_to_digits(got) - digits).abs().double()
    found = channel_figures(levels, code, p)  # type: ignore[arg-type]
    simulated = {
        "token_intact": (sent == got).double(),
        "digit_intact": (shift == 0).double(),
        "digit_within_one": (shift <= 1).double(),
    }
    for name, sample in simulated.items():
        bound = 5 * sample.std().item() / sample.numel() ** 0.5
        assert sample.mean().item() == pytest.approx(getattr(found, name), abs=bound), name
    square = shift.square()
    assert square.mean().item() == pytest.approx(
        found.digit_rms**2, abs=5 * square.std().item() / square.numel() ** 0.5
    )


@pytest.mark.parametrize("code", ["natural", "gray"])
@pytest.mark.parametrize("size", [2, 3, 11, 16, 17])
def test_rows_of_a_transition_matrix_are_distributions(size: int, code: str) -> None:
    matrix = transition_matrix(size, code, 0.07)  # type: ignore[arg-type]
    torch.testing.assert_close(matrix.sum(1), torch.ones(size, dtype=torch.float64))
    assert torch.equal(transition_matrix(size, code, 0.0), torch.eye(size, dtype=torch.float64))  # type: ignore[arg-type]
    assert matrix[0, size - 1] > 0, "words of nobody are read as the highest level"


def test_usage_weights_the_levels() -> None:
    only_ends = [torch.tensor([1.0, 0, 0, 1.0])]
    found = channel_figures(((4,),), "gray", 0.1, only_ends)
    assert found.digit_within_one == pytest.approx(0.9**2 + 0.1 * 0.9)
    for wrong in (torch.ones(3), torch.zeros(4), torch.tensor([1.0, 1, 1, -1])):
        with pytest.raises(ValueError, match="usage of 4 levels"):
            channel_figures(((4,),), "gray", 0.1, [wrong])


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"probability in \[0, 1\]"):
        transition_matrix(4, "natural", 1.5)
    with pytest.raises(ValueError, match="up to 12 bits"):
        transition_matrix(8192, "natural", 0.1)
    with pytest.raises(ValueError, match="choose natural or gray"):
        channel_figures(LEVELS, "index", 0.1)
