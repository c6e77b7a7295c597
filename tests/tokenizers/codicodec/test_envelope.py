"""The linear path around the networks: its start from data, the local deviation, and the shortcuts by place."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.codicodec.autoregressive import TIME_PROMPT
from latentune.tokenizers.codicodec.consistency import preconditioning
from latentune.tokenizers.codicodec.envelope import VALUE_DEVIATION, from_columns, to_columns
from latentune.tokenizers.codicodec.spectrum import audio_to_spectrogram, magnitudes
from latentune.tokenizers.codicodec.stream import StreamDecoder

CONFIG = replace(CoDiCodecConfig.tiny(), channels=1, sample_rate=16000, shortcuts=True, envelope_bands=16)


def noises(count: int, seed: int = 0, chunks: int = 1) -> Tensor:
    """Noise of random color and level, [count, 1, N]: an envelope of few dimensions."""
    random = torch.Generator().manual_seed(seed)
    samples = chunks * CONFIG.chunk_samples + CONFIG.stft_hop_samples
    spectrum = torch.fft.rfft(torch.randn(count, 1, samples, generator=random))
    place = torch.linspace(0, 1, spectrum.shape[-1])
    level, tilt = torch.randn(2, count, 1, 1, generator=random)
    return torch.fft.irfft(spectrum * torch.exp(0.7 * level - 2.5 + 2.0 * tilt * (place - 0.5)), n=samples)


@pytest.fixture(scope="module")
def codec() -> CoDiCodec:
    torch.manual_seed(0)
    codec = CoDiCodec(CONFIG).eval()
    codec.fit(audio_to_spectrogram(noises(256), CONFIG))
    return codec


def test_columns_are_cut_out_and_put_back() -> None:
    x = torch.arange(2 * 3 * 5 * 8.0).reshape(2, 3, 5, 8)
    columns = to_columns(x, 4)
    assert columns.shape == (2, 2, 60)
    torch.testing.assert_close(columns[1, 1].reshape(3, 5, 4), x[1, :, :, 4:])
    assert torch.equal(from_columns(columns, 3, 4), x)


def test_values_start_whitened(codec: CoDiCodec) -> None:
    z = codec.encoder(audio_to_spectrogram(noises(512, seed=1), CONFIG))
    columns = z.unflatten(1, (CONFIG.summaries_per_column, -1)).transpose(1, 2).flatten(2).flatten(0, 1)
    torch.testing.assert_close(columns.std(0), torch.full((8,), VALUE_DEVIATION), rtol=0.2, atol=0)
    assert (torch.corrcoef(columns.T) - torch.eye(8)).abs().max() < 0.2


@torch.no_grad()
def test_the_deviation_is_that_of_the_cells(codec: CoDiCodec) -> None:
    """Over many cells of one recording, the squares relative to the predicted variance have mean about 1."""
    spectrogram = audio_to_spectrogram(noises(64, seed=2), CONFIG)
    values = codec.encode_chunks(spectrogram)
    deviation = codec.denoiser.deviation(values, codec.upsampler(values))
    ratio = (spectrogram / deviation).square().mean((1, 2, 3))
    flat = spectrogram.square().mean((1, 2, 3)) / spectrogram.square().mean()
    assert 0.7 < ratio.median() < 1.4
    assert ratio.log().std() < 0.25 * flat.log().std()


@pytest.mark.parametrize("steps", [1, 3])
def test_an_untrained_codec_with_a_start_follows_its_input(codec: CoDiCodec, steps: int) -> None:
    audio = noises(8, seed=3, chunks=4)
    encoded = codec.encode(audio, 16000)
    generator = torch.Generator().manual_seed(0)
    decoded = codec.decode(tokens=encoded.tokens, generator=generator, steps=steps)[..., : audio.shape[-1]]
    levels = [10 * x.square().mean((1, 2)).log10() for x in (audio, decoded)]
    assert (levels[1] - levels[0]).abs().max() < 3.0
    sizes = [magnitudes(audio_to_spectrogram(x, CONFIG), CONFIG).mean((1, 3)).log() for x in (audio, decoded)]
    distance = (sizes[0][:, None] - sizes[1]).abs().mean(2)  # [original, decoded]
    assert (distance.argmin(0) == torch.arange(8)).all()


def test_the_live_decoder_of_such_a_codec_is_the_autoregressive_one(codec: CoDiCodec) -> None:
    encoded = codec.encode(noises(1, seed=4, chunks=3), 16000)
    whole = codec.decode(latents=encoded.latents, mode="autoregressive", generator=torch.Generator().manual_seed(1))
    stream = StreamDecoder(codec, torch.Generator().manual_seed(1), steps=2, time_prompt=TIME_PROMPT)
    live = torch.cat([stream.push(part) for part in encoded.latents.split(codec.spec.chunk_latents, dim=1)], dim=-1)
    torch.testing.assert_close(live[..., : whole.shape[-1]], whole, atol=1e-5, rtol=0)


def test_normal_data_of_a_known_deviation_keep_it_at_any_noise_level() -> None:
    deviation = torch.tensor([0.01, 0.3, 2.0])
    for sigma in (CONFIG.sigma_min, 0.1, 1.0, CONFIG.sigma_max):
        skip, _, scale = preconditioning(torch.tensor(sigma), CONFIG, deviation)
        noisy = deviation.square() + sigma**2
        torch.testing.assert_close(skip.square() * noisy, deviation.square() + CONFIG.sigma_min**2)
        torch.testing.assert_close(scale.square() * noisy, torch.ones(3))
    assert (preconditioning(torch.tensor(CONFIG.sigma_min), CONFIG, deviation)[1] == 0).all()


def test_a_value_changes_the_features_of_its_place_alone_at_the_start(codec: CoDiCodec) -> None:
    """The attention starts from zero: without a shortcut no value would reach any patch."""
    values = torch.zeros(1, CONFIG.num_summaries, 4)
    changed = values.clone()
    changed[0, 5] = 1.0  # the second place of the second column
    before, after = codec.upsampler(values)[-1], codec.upsampler(changed)[-1]
    moved = (before - after).abs().amax((0, 1)) > 1e-6  # [rows, columns]
    rows, columns = CONFIG.patch_grid
    expected = torch.zeros(rows, columns, dtype=torch.bool)
    expected[rows // 2 :, 1] = True
    assert torch.equal(moved, expected)


def test_the_published_network_has_none_of_it() -> None:
    with torch.device("meta"):
        published, ours = CoDiCodec(CoDiCodecConfig.tiny()), CoDiCodec(CONFIG)
    names = [set(model.state_dict()) for model in (published, ours)]
    assert names[0] < names[1]
    assert all("place" in n or "envelope" in n or "deviation" in n for n in names[1] - names[0])


@pytest.mark.parametrize(
    "fields", [{"envelope_bands": -1}, {"envelope_bands": 1000}, {"num_summaries": 6, "latents_per_chunk": 2}]
)
def test_a_path_that_cannot_be_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="envelope_bands"):
        replace(CONFIG, **fields)
