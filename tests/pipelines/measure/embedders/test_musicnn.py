"""The port against the original's own activations: see the header of `tests/assets/musicnn_reference.safetensors`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentune.pipelines.measure.embedders import Embedder, load_embedder
from latentune.pipelines.measure.embedders.musicnn import PATCH_FRAMES, MusicnnEmbedder, log_mel

REFERENCE = Path(__file__).resolve().parents[3] / "assets" / "musicnn_reference.safetensors"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


def tone(seconds: float, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(round(16_000 * seconds), generator=torch.Generator().manual_seed(seed))


def test_the_network_gives_what_the_original_gave(embedder: Embedder) -> None:
    reference = load_file(REFERENCE)
    with torch.no_grad():
        embedding = embedder.network(reference["input_mel"])
    error = (embedding - reference["pen"]).abs().max()
    assert error < 1.3e-5 * reference["pen"].abs().max()
    assert (
        embedder.posteriors_of(embedder.embed_windows(reference["input_mel"])) - reference["y"]
    ).abs().max() < 1.3e-5


def test_the_front_end_is_that_of_librosa() -> None:
    torchaudio = pytest.importorskip("torchaudio", exc_type=ImportError)
    audio = tone(3.5)
    power = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=512, hop_length=256, n_mels=96, power=2.0, norm="slaney", mel_scale="slaney", pad_mode="reflect"
    )(audio)
    torch.testing.assert_close(log_mel(audio), torch.log10(1 + 10_000 * power).T, atol=1e-4, rtol=1e-4)


def test_windows_lie_end_to_end_and_short_audio_is_repeated(embedder: Embedder) -> None:
    audio = tone(7.0)
    windows = embedder.windows(audio)
    assert windows.shape == (2, PATCH_FRAMES, 96)
    torch.testing.assert_close(windows[1], log_mel(audio)[PATCH_FRAMES : 2 * PATCH_FRAMES])
    short = tone(0.01)
    assert embedder.windows(short).shape == (1, PATCH_FRAMES, 96)
    torch.testing.assert_close(embedder.windows(short), embedder.windows(short.repeat(300)[:47_872]))
    assert embedder.embed(short[:1]).isfinite().all()


def test_embeddings_do_not_depend_on_the_batch(embedder: Embedder) -> None:
    audio = tone(9.5)
    together = embedder.embed(audio, batch_size=8)
    assert together.shape == (6, 200)
    torch.testing.assert_close(embedder.embed(audio, batch_size=1), together, atol=5e-5, rtol=1e-4)
    assert not embedder.network.training
    assert not any(p.requires_grad for p in embedder.network.parameters())


def test_the_identity_names_weights_and_preprocessing(embedder: Embedder) -> None:
    card = embedder.identity()
    assert card["embedder"] == "musicnn"
    assert card == MusicnnEmbedder.from_package().identity()
    other = MusicnnEmbedder.from_package()
    with torch.no_grad():
        other.network.dense.bias[0] += 1e-3  # type: ignore[union-attr, operator]
    assert other.identity()["weights_sha256"] != card["weights_sha256"]


def test_bad_audio_is_refused(embedder: Embedder) -> None:
    for audio in (torch.zeros(0), torch.zeros(2, 100), torch.zeros(100, dtype=torch.int16)):
        with pytest.raises(ValueError, match=r"\[samples\]"):
            embedder.embed(audio)
    with pytest.raises(ValueError, match="NaN"):
        embedder.embed(torch.full((100,), torch.nan))


def test_the_licence_of_the_weights_lies_beside_them() -> None:
    from importlib.resources import files

    text = (files("latentune.pipelines.measure.embedders") / "weights" / "LICENSE.md").read_text()
    assert "Universitat Pompeu Fabra" in text
