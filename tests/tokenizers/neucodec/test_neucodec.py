"""Properties of NeuCodec beyond the shared contract: frames, quirks of the weights, long audio, training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentune.core.config import build_config, config_to_dict
from latentune.core.errors import ConfigError
from latentune.layers.bits import pack_tokens
from latentune.tokenizers.neucodec import (
    DistillNeuCodec,
    DistillNeuCodecConfig,
    NeuCodec,
    NeuCodecConfig,
    filterbank,
    snake,
)
from latentune.tokenizers.neucodec.adapter import Adapter
from latentune.tokenizers.neucodec.decoder import Decoder, DecoderConfig
from latentune.tokenizers.neucodec.filterbank import SAMPLE_RATE, log_mel, normalised_frames
from latentune.tokenizers.neucodec.framing import official_frames, padded_hops
from latentune.tokenizers.neucodec.head import overlap_add
from latentune.tokenizers.neucodec.quantiser import Quantiser, QuantiserConfig
from latentune.tokenizers.neucodec.snake import AntiAliasedSnake, half_band_filter
from latentune.tokenizers.parts.chunking import ChunkStream, plan_chunks

RATE = 16000
VERSIONS = ["tiny_neucodec", "tiny_distill_neucodec"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=VERSIONS)
def codec(request: pytest.FixtureRequest) -> NeuCodec:
    return request.getfixturevalue(request.param)


def own(codec: NeuCodec, **changes: object) -> NeuCodec:
    """A codec of the same size that a test may change."""
    copy = type(codec)(replace(codec.settings, **changes))
    copy.load_state_dict(codec.state_dict(), strict=not changes)
    return copy.eval()


# ---------------------------------------------------------------------- sizes and frames


COMMON = {"quantiser": 34_824, "decoder": 2_098_176 + 185_557_898 - 34_824}  # as counted in the released files
# where those keep convolutions as directions and gains, gains are as many as a weight's first axis is long
FULL = {
    "semantic_encoder": 387_050_816 - 1024,  # an embedding of masked frames
    "semantic_adapter": 12_584_960,
    "acoustic_encoder": 38_462_480 - 12_976,
    "fusion": 4_196_352,
}
DISTILLED = {
    "semantic_encoder": 23_491_968 - 128 - 768,  # gains of the position convolution; an embedding of masked frames
    "semantic_adapter": 11_012_096,
    "acoustic_encoder": 21_620_384 - 6_020,
    "acoustic_proj": 393_984,
    "fusion": 3_147_776,
}


@pytest.mark.parametrize(
    ("cls", "config", "parameters"),
    [(NeuCodec, NeuCodecConfig, FULL), (DistillNeuCodec, DistillNeuCodecConfig, DISTILLED)],
)
def test_the_released_size_has_the_released_rates_and_parameters(
    cls: type, config: type, parameters: dict[str, int]
) -> None:
    with torch.device("meta"):
        codec = cls(config())
    spec = codec.spec
    assert (spec.sample_rate, spec.hop_samples, spec.codebook_sizes) == (24000, 480, (65536,))
    assert (spec.latent_rate_hz, spec.bitrate_bps, spec.packed_bitrate_bps) == (50, 800, 800)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in codec.named_children()}
    assert counts == parameters | COMMON


def test_the_small_configs_are_small() -> None:
    for cls, config in ((NeuCodec, NeuCodecConfig), (DistillNeuCodec, DistillNeuCodecConfig)):
        for name in config.PRESETS[1:]:
            assert sum(p.numel() for p in cls(config.preset(name)).parameters()) < 12e6
    with pytest.raises(ValueError, match="neucodec-mini"):
        NeuCodecConfig.preset("neucodec-huge")


def test_configs_that_cannot_be_are_refused() -> None:
    values = config_to_dict(NeuCodecConfig.tiny())
    assert build_config(NeuCodecConfig, values) == NeuCodecConfig.tiny()
    for change, message in (
        ({"synthesis": {"hop_samples": 320, "window_samples": 1280}}, "not the same time"),
        ({"synthesis": {"width": 32}}, "at least 64"),
        ({"synthesis": {"window_samples": 1000}}, "multiple of hop_samples"),
        ({"fsq": {"levels": [4, 5]}}, "even numbers"),
        ({"fsq": {"bounds": 0}}, "at least once"),
        ({"acoustic": {"kernel": 4}}, "odd"),
        ({"acoustics": {}}, "did you mean 'acoustic'"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_config(NeuCodecConfig, values | change)


@pytest.mark.parametrize("num_samples", [1, 319, 320, 321, 639, 640, 5000])
def test_frames_cover_the_signal_and_begin_with_the_official_ones(codec: NeuCodec, num_samples: int) -> None:
    audio = noise(1, 1, num_samples)
    encoded = codec.encode(audio, RATE)
    assert encoded.lengths_samples.tolist() == [codec.spec.resampled_length(num_samples, RATE)]
    assert encoded.tokens.shape[1] == math.ceil(num_samples / 320)
    if not official_frames(num_samples, 320, semantic_lag=codec.semantic_lag):
        with pytest.raises(ValueError, match="no frame for less than 320 samples"):
            codec.encode(audio, RATE, official_length=True)
        return
    official = codec.encode(audio, RATE, official_length=True)
    assert official.tokens.shape[1] == num_samples // 320 + 1 - codec.semantic_lag
    shared = min(official.tokens.shape[1], encoded.tokens.shape[1])
    assert torch.equal(official.tokens[:, :shared], encoded.tokens[:, :shared])
    assert codec.decode_encoded(official).shape[-1] == official.tokens.shape[1] * 480


def test_padding_always_adds_silence() -> None:
    """A signal of whole hops gains a whole one."""
    assert [padded_hops(n, 320) for n in (1, 319, 320, 640, 641)] == [2, 2, 2, 3, 3]


def test_audio_goes_to_16_khz_straight_from_its_own_rate(codec: NeuCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentune.tokenizers import inputs

    seen = []
    real = inputs.to_rate
    monkeypatch.setattr(inputs, "to_rate", lambda x, a, b: seen.append((a, b)) or real(x, a, b))
    codec.encode(noise(1, 1, 4410), 44100)
    assert seen == [(44100, 16000)]


# ---------------------------------------------------------------------- quirks that the weights need


def plain_snake(x: Tensor, act: AntiAliasedSnake) -> Tensor:
    """The definition: upsample, bend, decimate."""
    channels, taps = x.shape[1], half_band_filter().to(x)
    filters = taps.expand(channels, 1, -1)
    up = F.pad(x, (5, 5), mode="replicate")
    up = 2 * F.conv_transpose1d(up, filters, stride=2, groups=channels)[..., 15:-15]
    frequency, damping = act.log_frequency.exp()[:, None].to(x), act.log_damping.exp()[:, None].to(x)
    bent = up + torch.sin(up * frequency).square() / (damping + 1e-9)
    return F.conv1d(F.pad(bent, (5, 6), mode="replicate"), filters, stride=2, groups=channels)


@pytest.mark.parametrize("num_samples", [1, 2, 5, 64, 1001])
def test_the_fused_snake_is_upsampling_bending_and_decimating(num_samples: int) -> None:
    act = AntiAliasedSnake(7)
    torch.nn.init.normal_(act.log_frequency)
    torch.nn.init.normal_(act.log_damping)
    x = 3 * noise(2, 7, num_samples)
    expected = plain_snake(x.double(), act).float()
    with torch.no_grad():
        torch.testing.assert_close(act(x), expected, atol=1e-5, rtol=1e-5)
    with_gradient = act(x)
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient, expected, atol=1e-5, rtol=1e-5)


def snake_arguments(channels: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, frequency and gain in float64, all of which want a gradient."""
    rng = torch.Generator().manual_seed(3)
    sizes = ((shape[0], channels, shape[1]), (channels,), (channels,))
    x, frequency, gain = (torch.rand(size, generator=rng, dtype=torch.float64).requires_grad_() for size in sizes)
    return x, frequency, gain


@pytest.mark.parametrize("function", [snake.snake_by_convolution, snake.snake_by_passes])
@pytest.mark.parametrize("num_samples", [1, 4, 9])  # 1 and 4: both ends' padding sees every sample
def test_snake_has_the_right_gradients(function: Callable[..., Tensor], num_samples: int) -> None:
    assert torch.autograd.gradcheck(function, snake_arguments(2, 2, num_samples))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_to_snake_agree_whatever_the_block(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = tuple(each.detach().to(dtype).requires_grad_() for each in snake_arguments(5, 3, 100))
    weights = noise(3, 5, 100).to(dtype)
    expected = torch.autograd.grad((snake.snake_by_convolution(*arguments) * weights).sum(), arguments)
    monkeypatch.setattr(snake, "BLOCK_VALUES", 400)  # rows of two items in one block, and a last one that is shorter
    made = torch.autograd.grad((snake.snake_by_passes(*arguments) * weights).sum(), arguments)
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_training_keeps_nothing_of_a_snake_but_what_it_was_given() -> None:
    kept: list[Tensor] = []
    x, frequency, gain = snake_arguments(3, 2, 50)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        snake.snake_by_passes(x, frequency, gain)
    assert sorted(tensor.numel() for tensor in kept) == [6, 6, x.numel()]


def test_the_filter_is_the_official_one() -> None:
    half = torch.tensor([0.00202896, 0.00938947, -0.02554346, -0.05765738, 0.12857258, 0.44320980])
    torch.testing.assert_close(half_band_filter(), torch.cat((half, half.flip(0))), atol=1e-8, rtol=0)


def test_the_adapter_skips_with_the_rectified_tensor() -> None:
    adapter, frames = Adapter(3, 4, 5), noise(2, 6, 3)
    first = adapter.conv_in(frames.mT)
    inner = adapter.conv_mid2(adapter.conv_mid1(first.relu()).relu())
    torch.testing.assert_close(adapter(frames), adapter.conv_out(first.relu() + inner).mT)
    assert (adapter(frames) - adapter.conv_out(first + inner).mT).abs().max() > 1e-3


def test_z_is_bounded_twice_and_falls_into_the_official_levels() -> None:
    """Borders between the levels, and the range, as computed from the released quantiser."""
    twice = Quantiser(QuantiserConfig(), 3)
    borders = torch.tensor([-0.80943, -0.243407, 0.407882])
    for offset, expected in ((-1e-4, [0, 1, 2]), (1e-4, [1, 2, 3])):
        z = (borders + offset)[:, None].expand(-1, 8)
        assert twice.values_to_digits(twice._to_values(twice.bound(z)))[:, 0].tolist() == expected
    far = torch.tensor([-30.0, 30.0])[:, None].expand(-1, 8)
    torch.testing.assert_close(twice.bound(far)[:, 0], torch.tensor([-1.8958, 0.8116]), atol=1e-4, rtol=0)
    once = Quantiser(QuantiserConfig(bounds=1), 3)
    z = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    digits = [q.values_to_digits(q._to_values(q.bound(z))) for q in (once, twice)]
    assert (digits[0] != digits[1]).any(-1).float().mean() > 0.5


def test_a_token_is_its_digits_with_the_first_one_lowest(codec: NeuCodec) -> None:
    values = codec.tokens_to_values(torch.tensor([[[18743]]]))
    codes = torch.tensor([0.5, -0.5, 0.5, -1, -0.5, 0, -1, -0.5])
    assert torch.equal(values[0, 0], codes + 0.25)
    assert codec.values_to_tokens(values).item() == 18743
    tokens = torch.arange(65536)[None, :, None]
    latents = codec.tokens_to_latents(tokens)
    assert latents.abs().max() < 2
    assert torch.equal(codec.latents_to_tokens(latents), tokens)


def test_decoding_latents_gives_the_decoder_unrounded_codes(codec: NeuCodec) -> None:
    encoded = codec.encode(noise(1, 1, 4000), RATE)
    rounded = codec.tokens_to_latents(encoded.tokens)
    exact, near = codec.decode(tokens=encoded.tokens), codec.decode(latents=rounded)
    torch.testing.assert_close(near, exact, atol=1e-5, rtol=0)
    assert (codec.decode(latents=encoded.latents) - exact).abs().max() > 1e-3


def test_one_second_is_100_bytes(codec: NeuCodec) -> None:
    encoded = codec.encode(noise(1, 1, RATE), RATE)
    assert len(pack_tokens(encoded.tokens[0], codec.spec.codebook_sizes)) == 100


def test_the_transformer_knows_no_positions(codec: NeuCodec) -> None:
    """Upstream's rotary embedding turns nothing; one over time would make this fail."""
    blocks, x = codec.decoder.blocks, noise(1, 9, 64)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(blocks(x[:, order]), blocks(x)[:, order])


def test_dropout_is_for_training_alone() -> None:
    decoder, x = Decoder(DecoderConfig(width=64, depth=1, num_heads=2), 8), noise(1, 5, 8)
    assert not torch.equal(decoder(x), decoder(x))
    decoder.eval()
    assert torch.equal(decoder(x), decoder(x))


def test_overlap_add_inverts_a_transform_with_the_same_window() -> None:
    audio = noise(2, 480 * 7)
    window = torch.hann_window(1920)
    frames = F.pad(audio, (720, 720)).unfold(-1, 1920, 480) * window
    torch.testing.assert_close(overlap_add(torch.fft.rfft(frames), 1920, 480)[:, 0], audio, atol=1e-6, rtol=0)


# ---------------------------------------------------------------------- the semantic front end


def test_the_front_end_is_transformers_own() -> None:
    from transformers import SeamlessM4TFeatureExtractor

    audio = noise(1, 16320)
    extractor = SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, padding_value=1, stride=2)
    expected = extractor(audio[0].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    torch.testing.assert_close(normalised_frames(log_mel(audio)), expected, atol=5e-5, rtol=0)


def test_the_level_is_not_heard_but_the_silence_around_is() -> None:
    audio = noise(1, 6400)
    frames = normalised_frames(log_mel(audio))
    torch.testing.assert_close(normalised_frames(log_mel(0.25 * audio)), frames, atol=5e-5, rtol=0)
    longer = normalised_frames(log_mel(F.pad(audio, (0, 320))))[:, : frames.shape[1]]
    assert (longer - frames).abs().max() > 0.1


def test_the_semantic_encoder_is_transformers_own(tiny_neucodec: NeuCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over several blocks of queries, and beyond the distances that have embeddings."""
    from transformers import Wav2Vec2BertModel

    from latentune.tokenizers.neucodec import semantic

    ours = tiny_neucodec.semantic_encoder
    theirs = Wav2Vec2BertModel(ours.model.config).eval()
    theirs.load_state_dict(ours.model.state_dict())
    audio = noise(2, 320 * 100)
    frames = normalised_frames(log_mel(audio))
    with torch.no_grad():
        expected = theirs(frames).last_hidden_state
    for block in (512, 17):
        monkeypatch.setattr(semantic, "BLOCK_QUERIES", block)
        torch.testing.assert_close(ours(audio), expected, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------------- long audio, live


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
    mean, deviation = filterbank.utterance_moments(audio)
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
    with pytest.raises(ValueError, match="chunk_s must be 2 frames"):
        codec.encode(noise(1, 1, 100), RATE, **options)
    with pytest.raises(ValueError, match="chunk_s must be 2 frames"):
        codec.stream_decoder(**options)


def test_a_live_stream_is_always_cut(codec: NeuCodec) -> None:
    for stream in (codec.stream_encoder, codec.stream_decoder):
        with pytest.raises(ValueError, match="give chunk_s in seconds, not None"):
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


# ---------------------------------------------------------------------- training, precision


def test_the_training_pass_is_encode_and_decode(codec: NeuCodec) -> None:
    audio = noise(2, 1, 320 * 20)
    with torch.no_grad():
        made = codec(audio)
    encoded = codec.encode(audio, RATE)
    assert torch.equal(codec.values_to_tokens(made.values), encoded.tokens)
    assert made.reconstruction.shape == (2, 1, 480 * 20)
    torch.testing.assert_close(
        made.reconstruction.clamp(-1, 1), codec.decode_encoded(encoded, "tokens"), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(codec.fuse(audio), made.fused)
    assert made.semantic_prediction is None
    for wrong in (audio[0], audio[..., :-1], audio.expand(-1, 2, -1)):
        with pytest.raises(ValueError, match=r"\[B, 1, N\] at 16000 Hz"):
            codec(wrong)


def test_training_reaches_every_weight_but_the_semantic_encoders(codec: NeuCodec) -> None:
    student = own(codec, predict_semantic=True).train()
    made = student(noise(2, 1, 320 * 10))
    assert made.semantic_prediction.shape == made.semantic_target.shape == (2, 10, 16)
    assert not made.semantic_target.requires_grad
    loss = made.reconstruction.square().mean() + (made.semantic_prediction - made.semantic_target).square().mean()
    loss.backward()
    lost = [name for name, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(name.startswith("semantic_encoder.") for name in lost), lost
    assert not any(p.requires_grad for p in student.semantic_encoder.parameters())


def test_training_mode_leaves_the_semantic_encoder_as_it_is(codec: NeuCodec) -> None:
    student, audio = own(codec).train(), noise(1, 320 * 10)
    assert torch.equal(student.semantic_frames(audio), codec.semantic_frames(audio))
