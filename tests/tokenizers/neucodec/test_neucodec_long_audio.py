"""NeuCodec on long audio in chunks, and live."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.neucodec import (
    NeuCodec,
    filterbank,
)
from latentune.tokenizers.neucodec.filterbank import log_mel
from latentune.tokenizers.parts.chunking import ChunkStream, plan_chunks

RATE = 16000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_chunks_of_a_long_signal_agree_with_the_whole(codec: NeuCodec) -> None:
    """Inexact by design; most tokens stay, and nothing is lost or doubled."""
    audio = noise(1, 1, RATE * 4)
    whole, chunked = codec.encode(audio, RATE), codec.encode(audio, RATE, chunk_s=1.6, overlap_s=0.8)
    assert chunked.latents.shape == whole.latents.shape
    assert torch.equal(codec.encode(audio, RATE, chunk_s=4.02, overlap_s=1.0).latents, whole.latents)
    assert (chunked.latents - whole.latents).square().mean() < 0.1 * whole.latents.square().mean()
    decoded = codec.decode_encoded(whole, chunk_s=1.6, overlap_s=0.8)
    assert decoded.shape == (1, 1, 24000 * 4)
    expected = codec.decode_encoded(whole)
    assert (decoded - expected).square().mean() < 0.1 * expected.square().mean()


def test_a_chunk_is_heard_as_a_part_of_its_signal(tiny_neucodec: NeuCodec) -> None:
    """Its features are normalised as the whole's, though level and colour change in the middle."""
    audio = noise(1, 1, RATE * 2)
    audio[..., RATE:] = 0.01 * audio[..., RATE:].cumsum(-1)
    seen = []
    hook = tiny_neucodec.semantic_encoder.model.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    tiny_neucodec.encode(audio, RATE, chunk_s=None)
    tiny_neucodec.encode(audio, RATE, chunk_s=1.0, overlap_s=0.4)
    hook.remove()
    whole, first, *_, last = seen
    torch.testing.assert_close(first[:, :49], whole[:, :49], atol=1e-4, rtol=0)  # the next one sees the chunk's end
    torch.testing.assert_close(last, whole[:, -last.shape[1] :], atol=1e-4, rtol=0)


def test_moments_of_a_long_signal_are_those_of_all_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = noise(2, 16000 + 399)
    mel = log_mel(audio)
    monkeypatch.setattr(filterbank, "BLOCK_SAMPLES", 1600)
    mean, deviation = filterbank.utterance_moments([*audio], audio.shape[1])
    torch.testing.assert_close(mean, mel.mean(1, keepdim=True), atol=1e-4, rtol=0)
    torch.testing.assert_close(deviation, mel.std(1, keepdim=True), atol=1e-4, rtol=0)


def test_chunks_of_the_distilled_codec_keep_to_the_grid_of_its_windows(tiny_distill_neucodec: NeuCodec) -> None:
    """Else its acoustic frames would have other neighbours than in the whole."""
    audio, window = noise(1, RATE * 2), tiny_distill_neucodec.settings.acoustic.window  # type: ignore[attr-defined]
    seen = []
    hook = tiny_distill_neucodec.acoustic_encoder.register_forward_pre_hook(lambda m, args: seen.append(args[0][0, 0]))
    tiny_distill_neucodec.encode(audio[None], RATE, chunk_s=0.7, overlap_s=0.2)
    hook.remove()
    assert len(seen) > 3
    starts = [next(k for k in range(100) if torch.equal(audio[0, k * 320 :][:320], part[:320])) for part in seen]
    assert all(start % window == 0 for start in starts)


@pytest.mark.parametrize("options", [{"chunk_s": 0.0}, {"chunk_s": 1.0, "overlap_s": 1.0}, {"overlap_s": -1.0}])
def test_chunks_that_cannot_be(codec: NeuCodec, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="chunk_s must be at least 2 frames"):
        codec.encode(noise(1, 1, 100), RATE, **options)
    with pytest.raises(ValueError, match="chunk_s must be at least 2 frames"):
        codec.stream_decoder(**options)


def test_a_live_stream_is_always_cut(codec: NeuCodec) -> None:
    for stream in (codec.stream_encoder, codec.stream_decoder):
        with pytest.raises(ValueError, match="set chunk_s in seconds, not to None"):
            stream(chunk_s=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_frames", [1, 5, 8, 9, 12, 13, 16, 17, 30, 41])
@pytest.mark.parametrize("step", [1, 3, 50])
def test_chunks_of_a_stream_are_those_of_the_whole(num_frames: int, step: int) -> None:
    frames = torch.arange(num_frames)[None]
    stream, pieces = ChunkStream(8, 4), []
    for part in frames.split(step, dim=1):
        pieces += stream.push(part)
    pieces += stream.flush()
    plan = plan_chunks(num_frames, 8, 4)
    assert [(piece[0, 0].item(), kept) for piece, kept in pieces] == [(chunk.start, chunk.kept) for chunk in plan]
    assert torch.equal(torch.cat([piece[:, kept] for piece, kept in pieces], dim=1), frames)
    assert stream.flush() == []


@pytest.mark.parametrize("stream_name", ["latents", "tokens"])
def test_live_decoding_is_decoding_in_chunks(codec: NeuCodec, stream_name: str) -> None:
    frames = getattr(codec.encode(noise(2, 1, RATE * 2), RATE), stream_name)
    bounds = {"chunk_s": 0.4, "overlap_s": 0.2}
    state = codec.stream_decoder(**bounds)
    parts = [state.push(piece) for piece in frames.split(7, dim=1)] + [state.flush()]
    live = torch.cat([part for part in parts if part is not None], dim=-1)
    assert sum(part is not None for part in parts) > 3
    torch.testing.assert_close(live, codec.decode(**{stream_name: frames}, **bounds), atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_samples", [100, 4801, 9600])
def test_a_short_live_stream_is_encoded_as_a_whole(codec: NeuCodec, num_samples: int) -> None:
    audio = noise(2, 1, num_samples)
    state = codec.stream_encoder(chunk_s=0.4, overlap_s=0.2)
    assert all(state.push(piece) is None for piece in audio.split(911, dim=-1))
    live, whole = state.flush(), codec.encode(audio, 24000)
    assert live is not None
    assert torch.equal(live.tokens, whole.tokens)
    assert torch.equal(live.lengths_samples, whole.lengths_samples)


def test_a_long_live_stream_has_every_frame_once(codec: NeuCodec) -> None:
    audio = noise(1, 1, 24000 + 77)
    state = codec.stream_encoder(chunk_s=0.4, overlap_s=0.2)
    parts = [state.push(piece) for piece in audio.split(911, dim=-1)] + [state.flush()]
    kept = [part for part in parts if part is not None]
    assert len(kept) > 2
    assert sum(part.tokens.shape[1] for part in kept) == codec.spec.num_tokens(24077)
    assert sum(int(part.lengths_samples) for part in kept) == 24077
    latents = torch.cat([part.latents for part in kept], dim=1)
    expected = codec.encode(audio, 24000, chunk_s=0.4, overlap_s=0.2).latents
    assert (latents - expected).square().mean() < 0.05 * expected.square().mean()


def test_a_live_stream_of_another_shape_is_refused(codec: NeuCodec) -> None:
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    encoder.push(noise(2, 1, 1000))
    with pytest.raises(ValueError, match="batch of 2, got one of 1"):
        encoder.push(noise(1, 1, 1000))
    decoder.push(torch.zeros(2, 3, 8))
    with pytest.raises(ValueError, match="got \\(1, 3, 8\\)"):
        decoder.push(torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match="another tokenizer"):
        decoder.push(torch.zeros(2, 3, 7))
