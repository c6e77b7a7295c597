"""All steps with both versions of NeuCodec: one rate in, another out, one codebook of 65,536 tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_training import train_tiny

from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.decode import DecodeConfig, decode_dataset
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.sample import SampleConfig, sample_to_folder
from latentune.tokenizers.load import load_tokenizer

LENGTHS = {"a.wav": 16000, "b.wav": 9998}  # at 32 kHz


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stereo files at a rate that is neither the encoders' nor the decoder's."""
    folder, rng = tmp_path_factory.mktemp("speech"), np.random.default_rng(0)
    for name, length in LENGTHS.items():
        soundfile.write(folder / name, rng.normal(0, 0.1, (length, 2)), 32000, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module", params=["tiny_neucodec", "tiny_distill_neucodec"])
def codec_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codec")
    request.getfixturevalue(request.param).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(audio: Path, codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "latents"
    encode_dataset(EncodeConfig(source=str(audio), output=str(folder), tokenizer=str(codec_folder), dtype="float32"))
    return folder


def test_a_dataset_holds_what_the_codec_gives_and_decodes_to_it(
    dataset: Path, audio: Path, codec_folder: Path, tmp_path: Path
) -> None:
    data, codec = LatentDataset(dataset), load_tokenizer(codec_folder)
    assert list(data.spec.codebook_sizes) == [65536]
    direct = {}
    for index in range(len(data)):
        name, item = data.meta(index)["id"], data[index]
        given = torch.from_numpy(soundfile.read(audio / name, dtype="float32")[0].T)
        encoded = codec.encode(given[None], 32000)
        assert item.tokens is not None
        assert torch.equal(item.tokens, encoded.tokens[0])
        direct[name] = codec.decode_encoded(encoded, "tokens")[0, 0]
    records = decode_dataset(DecodeConfig(dataset=str(dataset), output=str(tmp_path), stream="tokens", subtype="FLOAT"))
    assert {record["id"] for record in records} == set(direct)
    for record in records:
        decoded, rate = soundfile.read(tmp_path / record["file"], dtype="float32")
        assert (len(decoded), rate) == (codec.spec.resampled_length(LENGTHS[record["id"]], 32000), 24000)
        np.testing.assert_allclose(decoded, direct[record["id"]], atol=2e-4)


@pytest.mark.parametrize("name", ["dit-tiny", "lm-tiny"])
def test_train_sample_and_evaluate(name: str, dataset: Path, codec_folder: Path, audio: Path, tmp_path: Path) -> None:
    train_tiny(name, dataset, codec_folder, tmp_path / "run", steps=32, batch_size=4, preview_every=0)
    records = sample_to_folder(
        SampleConfig(
            pipeline=str(tmp_path / "run"),
            output=str(tmp_path / "samples"),
            num=2,
            seconds=0.3,
            decode_options={"chunk_s": 0.2, "overlap_s": 0.04},
            spectrograms=False,
            device="cpu",
            options={"steps": 2} if name == "dit-tiny" else {"top_k": 5},
        )
    )
    assert {soundfile.info(tmp_path / "samples" / record["file"]).frames for record in records} == {7200}
    assert np.isfinite(evaluate(EvaluateConfig(reference=str(audio), generated=str(tmp_path / "samples"))).value)
