"""TAAE's networks: sizes, what a frame may depend on, items of unequal length."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from official_size import official_parameter_count
from torch import Tensor, nn

from latentune.tokenizers.taae.blocks import FrameConv, FrameTransposedConv, Snake
from latentune.tokenizers.taae.config import TAAEConfig
from latentune.tokenizers.taae.network import Decoder, Encoder
from latentune.tokenizers.taae.patching import audio_to_patches, patches_to_audio

TINY = replace(TAAEConfig.tiny(), layer_scale_init=0.5)  # blocks that count for something
CAUSAL = replace(TINY, causal=True, window=(7, 0))
THREE_STAGES = {"depths": (1, 1, 1), "strides": (1, 3, 2)}
VARIANTS = {
    "released": TINY,
    "causal": CAUSAL,
    "three stages": replace(TINY, **THREE_STAGES, use_snake=True, soft_clip=True),
    "three stages, causal": replace(CAUSAL, **THREE_STAGES, use_snake=True),
    "one rate": replace(TINY, depths=(1,), strides=(1,)),
}


def networks(config: TAAEConfig) -> tuple[Encoder, Decoder]:
    torch.manual_seed(0)
    encoder, decoder = Encoder(config).eval(), Decoder(config).eval()
    for module in (*encoder.modules(), *decoder.modules()):
        if isinstance(module, Snake):
            nn.init.normal_(module.log_frequency, std=0.3)
            nn.init.normal_(module.log_damping, std=0.3)
    return encoder, decoder


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=VARIANTS)
def config(request: pytest.FixtureRequest) -> TAAEConfig:
    return VARIANTS[request.param]


@pytest.mark.parametrize(
    ("preset", "encoder", "decoder"),
    [
        ("taae-base", 476_659_724, 476_660_032),  # together 953,319,756
        ("taae-540m", 268_631_564, 268_631_872),
        ("taae-240m", 119_847_948, 119_848_256),
    ],
)
def test_sizes_are_the_published_ones(preset: str, encoder: int, decoder: int) -> None:
    config = TAAEConfig.preset(preset)
    with torch.device("meta"):
        ours = Encoder(config), Decoder(config)
    assert [official_parameter_count(network) for network in ours] == [encoder, decoder]
    # what the official classes hold beyond ours: one weight-norm gain for each slice along axis 0 of a convolution
    gains = 2 * config.width + config.latent_dim, 2 * config.width + config.patch_width
    for network, count, extra in zip(ours, (encoder, decoder), gains, strict=True):
        assert sum(p.numel() for p in network.parameters()) == count - extra


def test_patches_come_back_as_the_same_audio() -> None:
    audio = noise(2, 3, 60)
    patches = audio_to_patches(audio, 20)
    assert patches.shape == (2, 3, 60)
    assert torch.equal(patches[1, 2, 20:40], audio[1, 1, 40:60])  # frame 2, channel 1
    assert torch.equal(patches_to_audio(patches, 20), audio)
    with pytest.raises(ValueError, match="61 samples is not a whole number of 20-sample"):
        audio_to_patches(noise(1, 1, 61), 20)
    with pytest.raises(ValueError, match="not a multiple"):
        patches_to_audio(noise(1, 3, 30), 20)


@torch.no_grad()
def test_one_latent_a_hop_and_back(config: TAAEConfig) -> None:
    encoder, decoder = networks(config)
    for frames in (1, 2, 23):
        z = encoder(noise(2, frames * config.stride, config.patch_width))
        assert z.shape == (2, frames, config.latent_dim)
        assert decoder(z.tanh()).shape == (2, frames * config.stride, config.patch_width)


@torch.no_grad()
def test_a_batch_of_unequal_items_gives_what_each_gives_alone(config: TAAEConfig) -> None:
    encoder, decoder = networks(config)
    counts = torch.tensor([40, 11, 1])
    patches = noise(3, 40 * config.stride, config.patch_width)
    values = noise(3, 40, config.latent_dim, seed=1).tanh()
    for item, count in enumerate(counts.tolist()):
        patches[item, count * config.stride :] = float("nan")  # whatever stands there
        values[item, count:] = float("nan")
    z, out = encoder(patches, counts * config.stride), decoder(values, counts)
    assert z.isfinite().all()
    assert out.isfinite().all()
    for item, count in enumerate(counts.tolist()):
        own = slice(item, item + 1), slice(0, count * config.stride)
        torch.testing.assert_close(z[item : item + 1, :count], encoder(patches[own]), atol=1e-5, rtol=0)
        torch.testing.assert_close(out[own], decoder(values[item : item + 1, :count]), atol=1e-5, rtol=0)


@torch.no_grad()
def first_change(network: nn.Module, x: Tensor, frame: int) -> int:
    """The first output frame that changes when input from `frame` on does."""
    other = x.clone()
    other[:, frame:] += 1.0
    changed = (network(x) - network(other)).abs().amax((0, 2)) > 1e-6
    return int(changed.nonzero()[0])


@pytest.mark.parametrize("config", [c for c in VARIANTS.values() if c.causal])
def test_a_causal_frame_waits_for_no_later_one(config: TAAEConfig) -> None:
    encoder, decoder = networks(config)
    patches = noise(1, 30 * config.stride, config.patch_width)
    values = noise(1, 30, config.latent_dim).tanh()
    for frame in (0, 1, 13, 29):
        # the latent frame that holds the patch, and no earlier one; then every patch that the latent holds
        for patch in range(config.stride * frame, config.stride * (frame + 1)):
            assert first_change(encoder, patches, patch) == frame
        assert first_change(decoder, values, frame) == config.stride * frame


def test_the_released_form_sees_the_future() -> None:
    encoder, decoder = networks(TINY)
    assert first_change(encoder, noise(1, 60, TINY.patch_width), 40) < 10
    assert first_change(decoder, noise(1, 30, TINY.latent_dim).tanh(), 20) < 25


@torch.no_grad()
@pytest.mark.parametrize("window", [(2, 3), (3, 2), (0, 0)])
def test_frames_beyond_all_windows_do_not_matter(window: tuple[int, int]) -> None:
    config = replace(TINY, depths=(2,), strides=(1,), window=window)
    encoder, _ = networks(config)
    patches = noise(1, 60, config.patch_width)
    other = patches.clone()
    other[:, 30] += 1.0
    changed = (encoder(patches) - encoder(other)).abs().amax((0, 2)) > 1e-7
    before, after = 2 * window[1] + 4, 2 * window[0] + 4  # two blocks, kernels 7 and 3
    assert changed.nonzero().flatten().tolist() == list(range(30 - before, 31 + after))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_strided_convolutions_divide_and_multiply_lengths(stride: int, causal: bool) -> None:
    torch.manual_seed(0)
    down = FrameConv(3, 4, 2 * stride, stride, causal)
    up = FrameTransposedConv(4, 3, stride, causal)
    for frames in (1, 7):
        assert down(noise(1, frames * stride, 3)).shape == (1, frames, 4)
        assert up(noise(1, frames, 4)).shape == (1, frames * stride, 3)


def test_even_strides_pad_as_the_official_convolutions_do() -> None:
    torch.manual_seed(0)
    down, up = FrameConv(3, 4, 4, 2), FrameTransposedConv(4, 3, 2)
    x, y = noise(1, 10, 3), noise(1, 5, 4)
    theirs = nn.functional.conv1d(x.transpose(1, 2), down.weight, down.bias, 2, padding=1).transpose(1, 2)
    torch.testing.assert_close(down(x), theirs)
    theirs = nn.functional.conv_transpose1d(y.transpose(1, 2), up.weight, up.bias, 2, padding=1).transpose(1, 2)
    torch.testing.assert_close(up(y), theirs)


def test_every_parameter_is_trained_and_recomputing_changes_nothing() -> None:
    grads = []
    for checkpointing in (False, True):
        config = replace(VARIANTS["three stages"], gradient_checkpointing=checkpointing)
        encoder, decoder = (network.train() for network in networks(config))
        decoder(encoder(noise(1, 12, config.patch_width)).tanh()).square().sum().backward()
        grads.append({k: p.grad for n in (encoder, decoder) for k, p in n.named_parameters(type(n).__name__)})
    for name, grad in grads[0].items():
        assert grad is not None, name
        assert grad.any(), name
        torch.testing.assert_close(grad, grads[1][name])


def test_inference_computes_what_training_does() -> None:
    encoder, _ = networks(TINY)
    patches = noise(1, 40, TINY.patch_width)
    trained = encoder(patches).detach()
    with torch.no_grad():
        torch.testing.assert_close(encoder(patches), trained)


@torch.no_grad()
@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_stays_near(how: str) -> None:
    encoder, decoder = networks(TINY)
    patches, values = noise(1, 80, TINY.patch_width), noise(1, 40, TINY.latent_dim).tanh()
    expected = encoder(patches), decoder(values)
    dtype = torch.bfloat16 if how == "weights" else torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        ours = encoder.to(dtype)(patches.to(dtype)), decoder.to(dtype)(values.to(dtype))
    for our, exact in zip(ours, expected, strict=True):
        assert (our.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_constants_are_no_state() -> None:
    encoder, decoder = networks(VARIANTS["three stages"])
    for network in (encoder, decoder):
        assert not list(network.buffers())


def test_snake_and_soft_clip() -> None:
    x = noise(2, 3)
    torch.testing.assert_close(Snake(3)(x), x + x.sin() ** 2)
    config = VARIANTS["three stages"]
    loud = networks(config)[1]
    loud.conv_out.weight.data *= 100
    out = loud(noise(1, 5, config.latent_dim))
    assert 0.99 < out.abs().max() <= 1


def test_near_silence_is_amplified_by_20_decibels_at_most() -> None:
    """The norms' eps is 1e-2 on the variance."""
    norm = networks(TINY)[0].stages[0].transformer.blocks[0].attention_norm
    quiet = 1e-6 * noise(1, 1, TINY.width)
    gains = [norm(scale * quiet).std() / (scale * quiet).std() for scale in (1.0, 1e3, 1e5, 1e8)]
    assert 9.9 < gains[0] <= 10.0
    assert all(a >= b for a, b in pairwise(gains))


def test_wrong_shapes_are_refused() -> None:
    encoder, decoder = networks(TINY)
    with pytest.raises(ValueError, match=r"5 patches are not a multiple of the stride 2"):
        encoder(noise(1, 5, TINY.patch_width))
    with pytest.raises(ValueError, match=r"patches must be \[batch, frames, 20\]"):
        encoder(noise(1, 4, 21))
    with pytest.raises(ValueError, match="at least 1 frame"):
        decoder(noise(1, 0, TINY.latent_dim))
    with pytest.raises(ValueError, match="one per item"):
        decoder(noise(2, 4, TINY.latent_dim), torch.tensor([4]))
    for counts in ([4, 3], [4, 6], [4, 0]):
        with pytest.raises(ValueError, match=r"multiples of 2 in 1 \.\.\. 4"):
            encoder(noise(2, 4, TINY.patch_width), torch.tensor(counts))
