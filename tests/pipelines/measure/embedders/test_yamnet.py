"""YAMNet against the TensorFlow Lite model that its weights are from: see tests/assets/README.md.

That model rounds every layer's output to 8 bits, ours does not, so they agree to a few of its steps.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentune.pipelines.measure.embedders import Embedder, load_embedder
from latentune.pipelines.measure.embedders.audioset_mel import PATCH_SAMPLES, mel_filters
from latentune.pipelines.measure.embedders.yamnet import dequantised

REFERENCE = Path(__file__).resolve().parents[3] / "assets" / "yamnet_reference.safetensors"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder("yamnet")


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load_file(REFERENCE)


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def test_front_end_embedding_and_classes_are_the_originals(embedder: Embedder, reference: dict[str, Tensor]) -> None:
    windows = torch.cat([embedder.windows(audio.float() / 32768) for audio in reference["audio"]])
    torch.testing.assert_close(windows[:, ::8], reference["features"], atol=2e-3, rtol=1e-4)
    embeddings = embedder.embed_windows(windows)
    assert (embeddings - reference["embedding"]).abs().max() < 4 * 0.0223  # steps of the original's rounding
    error = (embeddings - reference["embedding"]).norm(dim=1) / reference["embedding"].norm(dim=1)
    assert error.max() < 0.04
    logits = torch.logit(embedder.posteriors_of(embedder.embed_windows(windows)).double())
    assert (logits - reference["logits"]).abs().mean() < 0.35
    for ours, theirs in zip(logits, reference["logits"], strict=True):
        assert torch.corrcoef(torch.stack([ours, theirs.double()]))[0, 1] > 0.999
    assert (embedder.posteriors_of(embedder.embed_windows(windows)) - reference["scores"]).abs().max() < 0.06


def test_patches_lie_end_to_end_and_short_audio_is_repeated(embedder: Embedder) -> None:
    audio = noise(16_000 * 3)
    windows = embedder.windows(audio)
    assert windows.shape == (3, 96, 64)  # 298 frames
    torch.testing.assert_close(windows[1], embedder.windows(audio[96 * 160 :])[0])
    short = noise(777)
    torch.testing.assert_close(embedder.windows(short), embedder.windows(short.repeat(30)[:PATCH_SAMPLES]))
    assert embedder.embed(short[:1]).isfinite().all()
    assert embedder.embed(torch.zeros(PATCH_SAMPLES)).isfinite().all()


def test_posteriors_follow_from_embeddings_and_batches_do_not_matter(embedder: Embedder) -> None:
    audio = noise(16_000 * 4)
    embeddings, windows = embedder.embed(audio, batch_size=1), embedder.overlapping_windows(audio)
    torch.testing.assert_close(embedder.embed(audio), embeddings, atol=1e-5, rtol=1e-4)
    posteriors = embedder.posteriors_of(embedder.embed_windows(windows))
    assert posteriors.shape == (8, embedder.num_classes)
    torch.testing.assert_close(embedder.posteriors_of(embeddings), posteriors, atol=1e-5, rtol=1e-4)


def test_filters_are_triangles_that_sum_to_one_between_the_outer_centres() -> None:
    filters = mel_filters()
    assert filters.shape == (64, 257)
    sums = filters.sum(0)
    inner = torch.nonzero(filters[0]).max(), torch.nonzero(filters[-1]).min()
    torch.testing.assert_close(sums[inner[0] : inner[1]], torch.ones(int(inner[1] - inner[0])))
    assert not filters[:, 0].any()


def test_int8_weights_take_the_scale_of_their_output_channel() -> None:
    stored = {"a.weight": torch.tensor([[[2]], [[-3]]], dtype=torch.int8), "a.scale": torch.tensor([0.5, 2.0])}
    assert dequantised(stored)["a.weight"].flatten().tolist() == [1.0, -6.0]


def test_the_licence_of_yamnet_is_told() -> None:
    from importlib.resources import files

    text = (files("latentune.pipelines.measure.embedders") / "weights" / "LICENSE.md").read_text()
    assert "TensorFlow Authors, Apache License 2.0" in text
