"""TAAE on audio as it comes: any rate and level, signals of any length in bounded memory, live streams."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentune.layers.loudness import measure_loudness
from latentune.tokenizers.taae import TAAE

RATE = 16000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def causal(tiny_taae: TAAE) -> TAAE:
    return tiny_taae.to_causal()


# ------------------------------------------------------------------ rate and level


@pytest.mark.parametrize("sample_rate", [8000, 44100, 48000])
def test_other_rates_are_converted(tiny_taae: TAAE, sample_rate: int) -> None:
    encoded = tiny_taae.encode(noise(1, 2, 1001), sample_rate)
    assert int(encoded.lengths_samples) == round(1001 * RATE / sample_rate)


@pytest.mark.parametrize("gain", [0.05, 1.0, 3.0])
def test_the_level_of_the_input_has_no_say_and_comes_back(tiny_taae: TAAE, gain: float) -> None:
    audio = noise(1, 1, 8000)
    reference, encoded = tiny_taae.encode(audio, RATE), tiny_taae.encode(gain * audio, RATE)
    torch.testing.assert_close(encoded.latents, reference.latents, atol=1e-4, rtol=1e-4)
    difference = encoded.gain_db - reference.gain_db
    torch.testing.assert_close(difference, torch.tensor([-20 * torch.tensor(gain).log10()]), atol=1e-3, rtol=0)
    decoded = tiny_taae.decode_encoded(reference) * gain
    torch.testing.assert_close(tiny_taae.decode_encoded(encoded), decoded.clamp(-1, 1), atol=1e-3, rtol=0)


def test_audio_is_brought_to_the_loudness_asked_for(tiny_taae: TAAE) -> None:
    audio = noise(1, 1, 8000)
    loudness = measure_loudness(audio[0], RATE)
    by_default = tiny_taae.encode(audio, RATE)
    assert by_default.gain_db.item() == pytest.approx(-20 - loudness, abs=1e-3)
    softer = tiny_taae.encode(audio, RATE, loudness_lufs=-30.0)
    assert softer.gain_db.item() == pytest.approx(-30 - loudness, abs=1e-3)
    assert (softer.latents - by_default.latents).abs().max() > 0.01
    as_it_is = tiny_taae.encode(audio, RATE, loudness_lufs=None)
    assert as_it_is.gain_db.item() == 0
    same = tiny_taae.encode(audio * 10 ** (by_default.gain_db.item() / 20), RATE, loudness_lufs=None)
    torch.testing.assert_close(same.latents, by_default.latents, atol=1e-4, rtol=1e-4)


def test_peaks_and_near_silence_follow_the_official_rules(tiny_taae: TAAE) -> None:
    click = torch.zeros(1, 1, 16000)
    click[..., 1000] = 0.5
    assert tiny_taae.encode(click, RATE).gain_db.item() == pytest.approx(20 * torch.tensor(0.95 / 0.5).log10().item())
    for quiet in (torch.zeros(1, 1, 8000), noise(1, 1, 8000) * 0.009, torch.zeros(1, 1, 1)):
        assert tiny_taae.encode(quiet, RATE).gain_db.item() == 0


# ------------------------------------------------------------------ long audio


@pytest.mark.parametrize("max_frames", [1, 7, 64, 130])
@pytest.mark.parametrize("variant", ["tiny_taae", "causal"])
def test_a_bound_on_frames_changes_nothing(variant: str, max_frames: int, request: pytest.FixtureRequest) -> None:
    codec: TAAE = request.getfixturevalue(variant)
    num_samples = 40 * (3 * max_frames if max_frames > 1 else 20) + 11
    audio, lengths = noise(3, 1, num_samples), torch.tensor([num_samples, num_samples // 2, num_samples // 3])
    whole = codec.encode(audio, RATE, lengths=lengths, max_frames=None)
    bounded = codec.encode(audio, RATE, lengths=lengths, max_frames=max_frames)
    torch.testing.assert_close(bounded.latents, whole.latents, atol=1e-4, rtol=0)
    decoded = codec.decode_encoded(whole, max_frames=None)
    torch.testing.assert_close(codec.decode_encoded(whole, max_frames=max_frames), decoded, atol=1e-4, rtol=0)
    assert whole.latents.std() > 0.1
    assert decoded.std() > 0.005


def test_a_bound_keeps_the_working_set_flat(tiny_taae: TAAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the signal, no layer sees more than the bound and the context of its window."""
    seen: list[int] = []
    block = type(tiny_taae.encoder.stages[0].transformer.blocks[0].mlp)
    forward = block.forward
    monkeypatch.setattr(block, "forward", lambda self, x: seen.append(x.shape[0] * x.shape[1]) or forward(self, x))
    patches_per_frame, context = tiny_taae.settings.stride, sum(tiny_taae.settings.window)
    for frames in (100, 1000):
        seen.clear()
        tiny_taae.decode_encoded(tiny_taae.encode(noise(1, 1, 40 * frames), RATE, max_frames=32), max_frames=32)
        assert max(seen) <= 32 * patches_per_frame + 4 * context


def test_chunks_are_independent_and_close_to_the_whole(tiny_taae: TAAE) -> None:
    audio, lengths = noise(2, 1, 40 * 300), torch.tensor([40 * 300, 40 * 40 - 7])
    whole = tiny_taae.encode(audio, RATE, lengths=lengths)
    chunked = tiny_taae.encode(audio, RATE, lengths=lengths, chunk_frames=128, overlap_frames=32)
    assert chunked.latents.shape == whole.latents.shape
    error = (chunked.latents - whole.latents).abs().amax((0, 2))
    assert error.max() > 0  # it is not the same computation
    assert error.max() < 0.1 * whole.latents.abs().max()
    assert error[:90].max() < 1e-5  # the first chunk sees all that the frames far from its end see
    torch.testing.assert_close(chunked.latents[1], whole.latents[1], atol=1e-5, rtol=0)  # fits into one chunk
    few_at_once = tiny_taae.encode(audio, RATE, lengths=lengths, chunk_frames=128, overlap_frames=32, max_frames=100)
    torch.testing.assert_close(few_at_once.latents, chunked.latents, atol=1e-5, rtol=0)
    decoded = tiny_taae.decode_encoded(whole)
    in_chunks = tiny_taae.decode_encoded(whole, chunk_frames=128, overlap_frames=32)
    assert in_chunks.shape == decoded.shape
    assert (in_chunks - decoded).abs().max() < 0.1 * decoded.abs().max()


# ------------------------------------------------------------------ live streams


def pieces(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


@pytest.mark.parametrize("size", [17, 333, 5000])
@pytest.mark.parametrize("variant", ["tiny_taae", "causal"])
def test_a_stream_is_the_same_as_the_whole(variant: str, size: int, request: pytest.FixtureRequest) -> None:
    codec: TAAE = request.getfixturevalue(variant)
    audio = noise(2, 1, min(3001, 30 * size))
    whole = codec.encode(audio, RATE, loudness_lufs=None)
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    encoded = [encoder.push(audio[..., piece]) for piece in pieces(audio.shape[-1], size)]
    parts = [part for part in [*encoded, encoder.flush()] if part is not None]
    latents = torch.cat([part.latents for part in parts], dim=1)
    torch.testing.assert_close(latents, whole.latents, atol=1e-4, rtol=0)
    assert torch.equal(torch.cat([part.tokens for part in parts], dim=1), codec.latents_to_tokens(latents))
    decoded = [decoder.push(part.latents) for part in parts]
    live = torch.cat([part for part in [*decoded, decoder.flush()] if part is not None], dim=-1)
    torch.testing.assert_close(live, codec.decode(latents=whole.latents), atol=1e-4, rtol=0)
    assert encoder.flush() is None
    assert decoder.flush() is None


def test_a_causal_stream_gives_a_frame_for_every_hop_at_once(causal: TAAE) -> None:
    encoder, decoder = causal.stream_encoder(), causal.stream_decoder()
    for hop in noise(1, 1, 40 * 30).split(40, dim=-1):
        encoded = encoder.push(hop)
        assert encoded is not None
        assert encoded.latents.shape == (1, 1, 6)
        assert encoded.lengths_samples.tolist() == [40]
        audio = decoder.push(encoded.tokens)
        assert audio is not None
        assert audio.shape == (1, 1, 40)
    assert encoder.flush() is None
    assert decoder.flush() is None


def test_a_causal_model_does_not_see_the_future(causal: TAAE, tiny_taae: TAAE) -> None:
    audio = noise(1, 1, 4000)
    changed = audio.clone()
    changed[..., 2000:] += 0.3
    for codec, sees in ((causal, False), (tiny_taae, True)):
        one, two = (codec.encode(a, RATE, loudness_lufs=None).latents[:, :50] for a in (audio, changed))
        assert bool((one - two).abs().max() > 1e-4) is sees
        latents = codec.encode(audio, RATE).latents
        other = latents.clone()
        other[:, 50:] += 1.0
        first, second = (codec.decode(latents=x)[..., :2000] for x in (latents, other))
        assert bool((first - second).abs().max() > 1e-4) is sees


def test_a_causal_model_has_the_weights_of_the_one_it_came_from(tiny_taae: TAAE, causal: TAAE) -> None:
    assert causal.settings.causal
    assert causal.settings.window == (tiny_taae.settings.window[0], 0)
    ours, theirs = causal.state_dict(), tiny_taae.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert next(causal.parameters()).data_ptr() != next(tiny_taae.parameters()).data_ptr()
    with pytest.raises(ValueError, match="causal already"):
        causal.to_causal()


def test_a_gain_given_to_a_stream_is_applied_and_undone(causal: TAAE) -> None:
    audio = noise(1, 1, 2000)
    whole = causal.encode(audio, RATE)
    gain_db = whole.gain_db.item()
    encoded = causal.stream_encoder(gain_db=gain_db).push(audio)
    assert encoded is not None
    torch.testing.assert_close(encoded.latents, whole.latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(encoded.gain_db, whole.gain_db)
    live = causal.stream_decoder(gain_db=gain_db).push(encoded.latents)
    torch.testing.assert_close(live, causal.decode_encoded(whole), atol=1e-4, rtol=0)


def test_bad_pieces_are_refused(tiny_taae: TAAE) -> None:
    encoder, decoder = tiny_taae.stream_encoder(), tiny_taae.stream_decoder()
    encoder.push(noise(2, 1, 100))
    decoder.push(torch.zeros(2, 1, 6))
    with pytest.raises(ValueError, match="a batch of 2, got one of 1"):
        encoder.push(noise(1, 1, 100))
    with pytest.raises(ValueError, match="a batch of 2, got one of 1"):
        decoder.push(torch.zeros(1, 1, 6))
    with pytest.raises(ValueError, match="NaN"):
        encoder.push(torch.full((2, 1, 10), float("nan")))
    with pytest.raises(ValueError, match=r"\[batch, frames, 1\]"):
        decoder.push(torch.zeros(2, 1, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="no option gain"):
        tiny_taae.stream_encoder(gain=3)
