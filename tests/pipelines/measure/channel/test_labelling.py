"""Tokens and bits: a round trip in every labelling, the known codes, and what happens to words that are nobody's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentune.layers.bits import pack_tokens
from latentune.pipelines.measure.channel.channel import binary_symmetric
from latentune.pipelines.measure.channel.labelling import CODES, Labelling, codeword_bits, gray_decode, gray_encode

NEUCODEC = ((4,) * 8,)
CODICODEC = ((11,) * 4,)
RESIDUAL = ((5,) * 6, (5,) * 6)
MIXED = ((2, 17, 6), (3,))
RVQ = ((1024,),) * 3


def draw(levels: tuple[tuple[int, ...], ...], count: int = 500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    sizes = [int(np.prod(book)) for book in levels]
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], 1)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("levels", [NEUCODEC, CODICODEC, RESIDUAL, MIXED, RVQ])
def test_tokens_come_back_from_their_bits(levels: tuple[tuple[int, ...], ...], code: str) -> None:
    labelling, tokens = Labelling(levels, code), draw(levels)  # type: ignore[arg-type]
    bits = labelling.tokens_to_bits(tokens)
    assert bits.shape == (len(tokens), labelling.bits_per_frame)
    for shape in (bits, bits.flatten()):
        again, num_invalid = labelling.bits_to_tokens(shape)
        assert torch.equal(again, tokens)
        assert num_invalid == 0
    assert labelling.tokens_to_bits(tokens[:0]).shape == (0, labelling.bits_per_frame)


def test_bits_per_frame() -> None:
    found = {code: [Labelling(levels, code).bits_per_frame for levels in (NEUCODEC, CODICODEC, RVQ)] for code in CODES}
    assert found == {"natural": [16, 16, 30], "gray": [16, 16, 30], "index": [16, 14, 30]}


@pytest.mark.parametrize("levels", [CODICODEC, RESIDUAL, RVQ])
def test_whole_tokens_are_the_bits_of_pack_tokens(levels: tuple[tuple[int, ...], ...]) -> None:
    tokens, labelling = draw(levels), Labelling(levels, "index")
    assert np.packbits(labelling.tokens_to_bits(tokens).numpy()).tobytes() == pack_tokens(tokens, labelling.word_levels)


def test_digits_of_powers_of_two_are_the_bits_of_the_whole_token() -> None:
    """So an id of NeuCodec is 16 bits, dimension i in bits 2 i and 2 i + 1 counted from the least significant."""
    tokens = draw(NEUCODEC)
    bits = Labelling(NEUCODEC).tokens_to_bits(tokens)
    assert torch.equal(bits, Labelling(NEUCODEC, "index").tokens_to_bits(tokens))
    weights = 2 ** torch.arange(15, -1, -1)
    assert torch.equal((bits * weights).sum(1), tokens[:, 0])
    digits = Labelling(NEUCODEC).tokens_to_digits(torch.tensor([[18743]]))
    assert digits.flip(1).tolist() == [[3, 1, 3, 0, 1, 2, 0, 1]]


def test_gray_neighbours_differ_in_one_bit() -> None:
    numbers = torch.arange(4096)
    words = gray_encode(numbers)
    assert torch.equal(gray_decode(words), numbers)
    assert sorted(words.tolist()) == numbers.tolist()
    changed = words[1:] ^ words[:-1]
    assert (changed & (changed - 1)).eq(0).all()
    assert words[:4].tolist() == [0b00, 0b01, 0b11, 0b10]
    assert codeword_bits(4, "gray").tolist() == [[False, False], [False, True], [True, True], [True, False]]


@pytest.mark.parametrize("code", ["natural", "gray"])
def test_words_beyond_the_alphabet_are_the_highest_level_and_counted(code: str) -> None:
    labelling = Labelling(((11,),), code)  # type: ignore[arg-type]
    words = codeword_bits(16, code)  # type: ignore[arg-type]
    tokens, num_invalid = labelling.bits_to_tokens(words)
    assert tokens.flatten().tolist() == [*range(11), *[10] * 5]
    assert num_invalid == 5


def test_words_are_counted_digit_by_digit() -> None:
    labelling = Labelling(CODICODEC)
    received = binary_symmetric(labelling.tokens_to_bits(draw(CODICODEC)), 0.5, torch.Generator().manual_seed(0)).bits
    tokens, num_invalid = labelling.bits_to_tokens(received)
    assert int(tokens.max()) < 11**4
    assert num_invalid == pytest.approx(2000 * 5 / 16, rel=0.15)


def test_bits_of_the_wrong_length_are_refused() -> None:
    labelling = Labelling(NEUCODEC)
    bits = labelling.tokens_to_bits(draw(NEUCODEC))
    for wrong in (bits.flatten()[:-1], bits[:, :-1], bits.flatten()[:7], bits[None]):
        with pytest.raises(ValueError, match=r"a frame takes 16 bits .* multiple of 16"):
            labelling.bits_to_tokens(wrong)
    with pytest.raises(TypeError, match="bits must be bool"):
        labelling.bits_to_tokens(bits.long())


def test_tokens_that_do_not_fit_are_refused() -> None:
    labelling = Labelling(CODICODEC, "index")
    with pytest.raises(ValueError, match=r"0\.\.14640"):
        labelling.tokens_to_bits(torch.tensor([[14641]]))
    with pytest.raises(TypeError, match="integers"):
        labelling.tokens_to_bits(torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"\[T, 1\]"):
        labelling.tokens_to_bits(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="natural, gray, index"):
        Labelling(CODICODEC, "grey")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no tokens"):
        Labelling(())
