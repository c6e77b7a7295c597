"""Parts of NeuCodec: quirks that the official weights need, and the semantic front end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentune.layers.bits import pack_tokens
from latentune.tokenizers.neucodec import (
    NeuCodec,
    snake,
)
from latentune.tokenizers.neucodec.adapter import Adapter
from latentune.tokenizers.neucodec.decoder import Decoder, DecoderConfig
from latentune.tokenizers.neucodec.filterbank import SAMPLE_RATE, log_mel, normalised_frames
from latentune.tokenizers.neucodec.head import overlap_add
from latentune.tokenizers.neucodec.quantiser import Quantiser, QuantiserConfig
from latentune.tokenizers.neucodec.snake import AntiAliasedSnake, half_band_filter

RATE = 16000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
    assert codec.quantiser.values_to_tokens(values).item() == 18743
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
