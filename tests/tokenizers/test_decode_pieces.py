"""One item decoded piece by piece: the audio of `decode`, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.base import AudioTokenizer, Stream


@dataclass(frozen=True)
class Case:
    """A codec and options of its `decode` that give pieces of several sizes, all of them shorter than the item."""

    fixture: str
    options: tuple[dict[str, Any], ...]
    gains_db: tuple[float | None, ...] = field(default=(None,))


CASES = [
    Case(
        "tiny_codec",
        (
            {"max_chunks": 1, "steps": 3},
            {"max_chunks": 3, "steps": 2},
            {"max_chunks": None, "steps": 2},
            {"mode": "autoregressive", "steps": 1},
        ),
    ),
    Case(
        "tiny_taae",
        ({"max_frames": 3}, {"max_frames": 7}, {"chunk_frames": 8, "overlap_frames": 2, "max_frames": 16}),
        (None, 6.0, -30.0),
    ),
    Case("tiny_neucodec", ({"chunk_s": 0.1, "overlap_s": 0.04}, {"chunk_s": 0.3, "overlap_s": 0.0})),
    Case("tiny_distill_neucodec", ({"chunk_s": 0.2, "overlap_s": 0.08},)),
    Case("tiny_melcodec", ({"chunk_s": 0.016}, {"chunk_s": 0.25})),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.fixture)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def codec(case: Case, request: pytest.FixtureRequest) -> AudioTokenizer:
    return request.getfixturevalue(case.fixture)


def one_item(codec: AudioTokenizer, stream: Stream) -> dict[str, Tensor]:
    """Arguments of an item of 0.9 s whose frames are followed by padding and whose last frame is not full."""
    spec, noise = codec.spec, torch.Generator().manual_seed(3)
    num_samples = round(0.9 * spec.sample_rate) + 1
    latents = torch.randn(1, spec.num_latents(num_samples) + spec.chunk_latents, spec.latent_dim, generator=noise)
    frames = latents if stream == "latents" else codec.latents_to_tokens(latents)
    return {stream: frames, "lengths_samples": torch.tensor([num_samples])}


def pieces_of(codec: AudioTokenizer, **arguments: Any) -> Iterator[Tensor]:
    return codec.decode_pieces(**arguments, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("stream", ["latents", "tokens"])
def test_pieces_of_any_size_are_what_decode_gives(codec: AudioTokenizer, case: Case, stream: Stream) -> None:
    arguments = one_item(codec, stream)
    for options in case.options:
        for gain_db in case.gains_db:
            asked = {**arguments, **options, "gain_db": None if gain_db is None else torch.tensor([gain_db])}
            whole = codec.decode(**asked, generator=torch.Generator().manual_seed(7))[0]
            pieces = list(pieces_of(codec, **asked))
            assert len(pieces) > 1
            assert all(piece.shape[0] == codec.spec.channels and piece.shape[1] for piece in pieces)
            assert torch.equal(torch.cat(pieces, dim=-1), whole)


def test_without_a_length_all_frames_are_decoded(codec: AudioTokenizer, case: Case) -> None:
    latents = one_item(codec, "latents")["latents"]
    whole = codec.decode(latents=latents, **case.options[0], generator=torch.Generator().manual_seed(7))[0]
    assert torch.equal(torch.cat(list(pieces_of(codec, latents=latents, **case.options[0])), dim=-1), whole)


def test_an_item_of_one_sample_is_one_piece(codec: AudioTokenizer, case: Case) -> None:
    latents = one_item(codec, "latents")["latents"]
    pieces = list(pieces_of(codec, latents=latents, lengths_samples=torch.tensor([1]), **case.options[0]))
    assert [piece.shape[1] for piece in pieces] == [1]


def test_pieces_carry_no_gradient(codec: AudioTokenizer) -> None:
    assert not any(piece.requires_grad for piece in pieces_of(codec, **one_item(codec, "latents")))


def test_what_cannot_be_decoded_is_refused_before_the_first_piece(codec: AudioTokenizer) -> None:
    spec = codec.spec
    latents = torch.zeros(1, spec.chunk_latents, spec.latent_dim)
    for arguments, message in (
        ({}, "either latents or tokens"),
        ({"latents": latents.expand(2, -1, -1)}, "one item, .* a batch of 2"),
        ({"latents": latents + float("nan")}, "NaN or inf"),
        ({"latents": latents, "gain_db": torch.zeros(2)}, r"gain_db must be \[1\]"),
        ({"latents": latents, "lengths_samples": torch.tensor([0])}, r"within 1\.\."),
    ):
        with pytest.raises(ValueError, match=message):
            codec.decode_pieces(**arguments)
    with pytest.raises(TypeError, match="decode_pieces has no option loudnes"):
        codec.decode_pieces(latents=latents, loudnes=1)


class Whole:
    """A codec of others that knows only `decode`."""

    decode_pieces = AudioTokenizer.decode_pieces

    def decode(self, *, latents: Tensor | None = None, **options: Any) -> Tensor:
        assert latents is not None
        return latents.mT


def test_a_codec_without_pieces_of_its_own_gives_one() -> None:
    latents = torch.randn(1, 5, 2)
    pieces = list(Whole().decode_pieces(latents=latents))  # type: ignore[arg-type, misc]
    assert len(pieces) == 1
    assert torch.equal(pieces[0], latents[0].mT)
    with pytest.raises(ValueError, match="a batch of 2"):
        Whole().decode_pieces(latents=latents.expand(2, -1, -1))  # type: ignore[arg-type, misc]
