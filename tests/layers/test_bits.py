"""Tokens as packed bits: sizes, order and round trip, for any codebooks."""

from __future__ import annotations

import pytest
import torch

from latentune.layers.bits import entry_bits, pack_tokens, packed_bytes, unpack_tokens

SIZES = [(46656,), (15625, 15625), (729,) * 4, (17**6,), (2**16,), (2,), (1, 5), (17**8, 3, 2**62)]


@pytest.mark.parametrize(("size", "bits"), [(1, 0), (2, 1), (3, 2), (729, 10), (15625, 14), (46656, 16), (17**6, 25)])
def test_bits_of_an_entry(size: int, bits: int) -> None:
    assert entry_bits(size) == bits


def test_powers_of_two_are_exact_beyond_floats() -> None:
    assert [entry_bits(2**60 + k) for k in (-1, 0, 1)] == [60, 60, 61]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("num_frames", [0, 1, 7, 250])
def test_what_is_packed_comes_back(sizes: tuple[int, ...], num_frames: int, generator: torch.Generator) -> None:
    columns = [torch.randint(size, (num_frames,), generator=generator) for size in sizes]
    tokens = torch.stack(columns, 1)
    tokens[-1:] = torch.tensor(sizes) - 1
    data = pack_tokens(tokens, sizes)
    assert len(data) == packed_bytes(num_frames, sizes) == (num_frames * sum(map(entry_bits, sizes)) + 7) // 8
    assert torch.equal(unpack_tokens(data, sizes, num_frames), tokens)


def test_the_order_of_the_bits_is_written_down() -> None:
    """5 = 101, 1 = 001, then 2 = 010, 6 = 110: most significant bit first, frame after frame, zeros at the end."""
    data = pack_tokens(torch.tensor([[5, 1], [2, 6]]), (8, 8))
    assert data == bytes([0b10100101, 0b01100000])


def test_a_second_of_each_stable_codec_preset() -> None:
    assert [packed_bytes(25, sizes) * 8 for sizes in SIZES[:3]] == [400, 704, 1000]  # 700 bits fill 87.5 bytes


@pytest.mark.parametrize("tokens", [[[8]], [[-1]]])
def test_a_token_out_of_range(tokens: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.7"):
        pack_tokens(torch.tensor(tokens), (8,))


def test_tokens_that_cannot_be_packed() -> None:
    with pytest.raises(ValueError, match=r"\[T, 2\], got shape \(1, 1\)"):
        pack_tokens(torch.zeros(1, 1, dtype=torch.int64), (8, 8))
    with pytest.raises(TypeError, match="integers"):
        pack_tokens(torch.zeros(1, 1), (8,))
    with pytest.raises(ValueError, match="63 bits"):
        pack_tokens(torch.zeros(1, 1, dtype=torch.int64), (2**64,))
    with pytest.raises(ValueError, match="one or more codebooks"):
        pack_tokens(torch.zeros(1, 0, dtype=torch.int64), ())
    with pytest.raises(ValueError, match="at least 1 entry"):
        entry_bits(0)


def test_bytes_that_are_not_of_these_codebooks() -> None:
    with pytest.raises(ValueError, match="take 2 bytes, got 3"):
        unpack_tokens(b"abc", (729,), 1)
    with pytest.raises(ValueError, match="not zero"):
        unpack_tokens(bytes([0, 0b00000001]), (729,), 1)
    with pytest.raises(ValueError, match=r"0\.\.728"):
        unpack_tokens(bytes([0b11111111, 0b11000000]), (729,), 1)
