"""The reconstruction losses, and the perceptual one on a tiny WavLM with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentune.core.errors import CheckpointError
from latentune.tokenizers.taae.losses import decay, stft_loss, waveform_loss
from latentune.tokenizers.taae.perceptual import PerceptualConfig, PerceptualFeatures, load_perceptual, perceptual_loss


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_waveform_loss_by_hand() -> None:
    assert float(waveform_loss(torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[0.5, 2.0]]]))) == pytest.approx(2.25)


def test_the_stft_loss_is_torchs() -> None:
    estimate, target = noise(2, 1, 3000), noise(2, 1, 3000, seed=1)

    def magnitudes(audio: Tensor) -> Tensor:
        window = torch.hann_window(512)
        return torch.stft(audio[:, 0], 512, 128, window=window, pad_mode="reflect", return_complex=True).abs()

    expected = (magnitudes(estimate) - magnitudes(target)).abs().mean()
    torch.testing.assert_close(stft_loss(estimate, target, 512, 128), expected)


def test_the_stft_loss_forgives_polarity_and_has_a_gradient_at_silence() -> None:
    audio = noise(1, 1, 3000)
    assert float(stft_loss(-audio, audio, 512, 128)) == pytest.approx(0, abs=1e-7)
    silent = torch.zeros(1, 1, 3000, requires_grad=True)
    stft_loss(silent, audio, 512, 128).backward()
    assert silent.grad is not None
    assert torch.isfinite(silent.grad).all()


def test_audio_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="of 256 samples is too short for an STFT window of 512"):
        stft_loss(noise(1, 1, 256), noise(1, 1, 256), 512, 128)


def test_decay_starts_at_one() -> None:
    assert decay(0.9999, 0) == 1
    assert decay(0.9999, 10_000) == pytest.approx(0.3679, abs=1e-4)


# ---------------------------------------------------------------------- perceptual


@pytest.fixture(scope="module")
def wavlm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WavLM-Large's structure (layer norm everywhere), three layers of 32 features."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.WavLMConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        hidden_dropout=0.5,
        layerdrop=0.5,
        mask_time_prob=0.5,
    )
    folder = tmp_path_factory.mktemp("wavlm")
    transformers.WavLMModel(config).save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> PerceptualFeatures:
    return load_perceptual(PerceptualConfig(path=str(folder), **options), 16000)


def test_features_are_the_layers_outputs(wavlm_folder: Path) -> None:
    features, audio = load(wavlm_folder), noise(2, 1, 3200)
    waveform = audio[:, 0]
    waveform = torch.nn.functional.layer_norm(waveform, waveform.shape[1:])
    hidden = features.wavlm(waveform, output_hidden_states=True).hidden_states
    outputs = features(audio)
    # transformers norms the last layer's output before it shows it
    assert len(outputs) == len(hidden) - 1 == 3
    for output, expected in zip(outputs[:-1], hidden[1:-1], strict=True):
        torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-3)
    chosen = load(wavlm_folder, layers=(1,))(audio)
    assert len(chosen) == 1
    torch.testing.assert_close(chosen[0], outputs[1])


def test_it_stays_frozen_in_eval_mode_whatever_is_asked_for(wavlm_folder: Path) -> None:
    features, audio = load(wavlm_folder), noise(1, 1, 3200)
    before = features(audio)[-1]
    nn.ModuleList([features]).train()
    features.train(True)
    assert not any(module.training for module in features.modules())
    assert not any(parameter.requires_grad for parameter in features.parameters())
    torch.testing.assert_close(features(audio)[-1], before, atol=0, rtol=0)


def test_the_gradient_reaches_the_estimate_alone(wavlm_folder: Path) -> None:
    features = load(wavlm_folder)
    real, fake = (noise(1, 1, 3200, seed=seed).requires_grad_() for seed in (0, 1))
    perceptual_loss(features(real), features(fake)).backward()
    assert real.grad is None
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0


def test_an_items_features_do_not_depend_on_its_batch_unless_released_behaviour_is_asked_for(
    wavlm_folder: Path,
) -> None:
    audio = torch.cat([noise(1, 1, 3200), 3 * noise(1, 1, 3200, seed=1) + 0.2])
    ours, theirs = load(wavlm_folder), load(wavlm_folder, normalise_waveform="batch")
    torch.testing.assert_close(ours(audio)[0][:1], ours(audio[:1])[0], atol=1e-5, rtol=1e-4)
    assert (theirs(audio)[0][:1] - theirs(audio[:1])[0]).abs().max() > 1e-2


def test_the_perceptual_loss_by_hand() -> None:
    real, fake = [torch.tensor([1.0, -3.0]), torch.tensor([10.0, 14.0])], [torch.tensor([2.0, -3.0]), torch.zeros(2)]
    assert float(perceptual_loss(real, fake)) == pytest.approx((0.5 / 2 + 12 / 12) / 2)
    by_std = (0.5 / 8**0.5 + 12 / 8**0.5) / 2
    assert float(perceptual_loss(real, fake, "std")) == pytest.approx(by_std, rel=1e-4)


def test_torchaudios_wavlm_gives_its_layers_as_well() -> None:
    models = pytest.importorskip("torchaudio.models")
    torch.manual_seed(0)
    wavlm = models.wavlm_model(
        extractor_mode="layer_norm",
        extractor_conv_layer_config=[(16, 10, 5), (16, 3, 2), (16, 2, 2)],
        extractor_conv_bias=True,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=2,
        encoder_num_layers=2,
        encoder_num_heads=2,
        encoder_num_buckets=32,
        encoder_max_distance=80,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=64,
        encoder_ff_interm_dropout=0.1,
        encoder_dropout=0.1,
        encoder_layer_norm_first=True,
        encoder_layer_drop=0.1,
        aux_num_out=None,
    )
    features, audio = PerceptualFeatures(wavlm, PerceptualConfig()), noise(2, 1, 1600)
    waveform = features._normalise(audio[:, 0])
    for output, expected in zip(features(audio), wavlm.extract_features(waveform)[0], strict=True):
        torch.testing.assert_close(output, expected)


# ---------------------------------------------------------------------- mistakes


def test_weights_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="no WavLM at"):
        load(tmp_path)
    pytest.importorskip("torchaudio")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"perceptual\.download to fetch it"):
        load_perceptual(PerceptualConfig(), 16000)

    def offline(*arguments: Any, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchaudio.pipelines._wav2vec2.utils._get_state_dict", offline)
    with pytest.raises(CheckpointError, match="cannot fetch WavLM-Large: no network"):
        load_perceptual(PerceptualConfig(download=True), 16000)


def test_broken_weights_are_told(wavlm_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((wavlm_folder / "config.json").read_text())
    with pytest.raises(CheckpointError, match="cannot load WavLM"):
        load(tmp_path)


def test_other_input_is_refused(wavlm_folder: Path) -> None:
    with pytest.raises(ValueError, match="the codec has 48000"):
        load_perceptual(PerceptualConfig(path=str(wavlm_folder)), 48000)
    with pytest.raises(ValueError, match="this WavLM has layers 0 to 2"):
        load(wavlm_folder, layers=(3,))
    with pytest.raises(ValueError, match="at least 400 samples, got 399"):
        load(wavlm_folder)(noise(1, 1, 399))
