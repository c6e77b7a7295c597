"""CoDiCodec against the official package: by a golden file at reduced size, and (marked `peer`) at full size.

The golden file was written by `demos/bench/official_codicodec.py`, which runs PyPI `codicodec` 0.1.2 with seeded random
weights; noise is replayed, so whole decodes can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_scripts import load_script
from hub_cache import make_cache
from safetensors.torch import load_file
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.codicodec import CoDiCodec
from latentune.tokenizers.codicodec.config import CoDiCodecConfig
from latentune.tokenizers.codicodec.spectrum import audio_to_spectrogram, split_chunks
from latentune.tokenizers.codicodec.upstream import FILE_NAME
from latentune.tokenizers.load import load_tokenizer

ROOT = Path(__file__).resolve().parents[3]
TOLERANCE = 1e-4  # of the tensor's largest magnitude


peer = load_script("official_codicodec")


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(ROOT / "tests/assets/codicodec_golden.safetensors")


@pytest.fixture(scope="module")
def official_file(golden: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden weights as the official pickle, numpy scalars included."""
    state = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    path = tmp_path_factory.mktemp("official") / FILE_NAME
    torch.save({"gen_state_dict": state, "loss": np.float64(0.5), "it": np.int64(7)}, path)
    return path


@pytest.fixture(scope="module")
def codec(official_file: Path) -> CoDiCodec:
    return CoDiCodec.from_official(official_file, config=peer.GOLDEN_CONFIG)


@torch.no_grad()
def compare(codec: CoDiCodec, theirs: dict[str, Tensor], seed: int) -> dict[str, float]:
    """Largest error of each stage, relative to the tensor's largest magnitude; tokens as a share of differing ones."""
    config = codec.settings
    errors = {}
    spectrogram = audio_to_spectrogram(theirs["audio"], config)
    errors["spectrogram"] = relative_error(spectrogram, theirs["spectrogram"][..., : spectrogram.shape[-1]])
    chunks = split_chunks(theirs["spectrogram"], config.chunk_frames)[0]
    values = codec.encode_chunks(chunks)
    errors["values"] = relative_error(values.flatten(0, 1)[None], theirs["values"])
    encoded = codec.encode(theirs["audio"], config.sample_rate)
    half = (config.levels[0] - 1) // 2
    scaled = theirs["values"] * half
    tie = ((scaled - scaled.floor() - 0.5).abs() < 1e-3).any(-1)
    differ = (encoded.tokens[..., 0][:, : tie.shape[1]] != theirs["tokens"]) & ~tie
    errors["tokens"] = float(differ.float().mean())
    values = theirs["values"].reshape(1, -1, config.num_summaries, len(config.levels))
    features = codec.upsampler(values[0, :2])
    for i, feature in enumerate(features):
        theirs_split = torch.cat(theirs[f"feature_{i}"].chunk(2, dim=-1))
        errors[f"feature_{i}"] = relative_error(feature, theirs_split)
    pair = split_chunks(theirs["pair"], config.chunk_frames)
    denoised, _ = codec.denoiser(pair, values[:, :2], features, torch.tensor([[0.7, 3.0]]))
    errors["denoised"] = relative_error(denoised, split_chunks(theirs["denoised"], config.chunk_frames))
    latents = codec.values_to_latents(values.flatten(0, 1)).flatten(0, 1)[None]
    noise = peer.RecordedNoise(config, 1, seed)
    for name, options in {
        "parallel_1": {"steps": 1},
        "parallel_3": {"steps": 3},
        "autoregressive_2": {"steps": 2, "mode": "autoregressive"},
    }.items():
        audio = codec.decode(latents=latents, noise=noise, **options)
        errors[name] = relative_error(audio, theirs[name])
    return errors


def test_every_stage_matches_the_official_package(codec: CoDiCodec, golden: dict[str, Tensor]) -> None:
    errors = compare(codec, golden, seed=2)
    assert errors.pop("tokens") == 0
    assert {name: error for name, error in errors.items() if not error < TOLERANCE} == {}


def test_tokens_decode_to_the_official_codes(codec: CoDiCodec, golden: dict[str, Tensor]) -> None:
    values = codec.tokens_to_values(golden["tokens"][..., None])
    torch.testing.assert_close(values.flatten(1, 2), golden["quantised"], atol=1e-6, rtol=0)


def test_official_folder_and_licence(official_file: Path, tmp_path: Path) -> None:
    codec = CoDiCodec.from_official(official_file.parent, config=peer.GOLDEN_CONFIG)
    assert "NC" in codec.licence
    assert not codec.training
    codec.save_pretrained(tmp_path)
    loaded = CoDiCodec.from_pretrained(tmp_path)
    assert loaded.licence == codec.licence
    assert loaded.fingerprint() == codec.fingerprint()


def test_a_missing_and_an_unexpected_key_are_named(official_file: Path, tmp_path: Path) -> None:
    content = torch.load(official_file, weights_only=False)
    state = content["gen_state_dict"]
    state["stranger.weight"] = state.pop("lat2patch.weight")
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match=r"denoiser\.expand\.weight.*stranger\.weight"):
        CoDiCodec.from_official(tmp_path / "bad.pt", config=peer.GOLDEN_CONFIG)


def test_another_size_is_refused(official_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"another size|missing"):
        CoDiCodec.from_official(official_file, config=CoDiCodecConfig.tiny())


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 truncated"])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.pt"):
        CoDiCodec.from_official(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"gen_state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        CoDiCodec.from_official(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_every_place_of_an_official_checkpoint(official_file: Path, codec: CoDiCodec, tmp_path: Path) -> None:
    make_cache(tmp_path, "SonyCSLParis/codicodec", {FILE_NAME: official_file})
    renamed = tmp_path / "renamed.pt"
    renamed.write_bytes(official_file.read_bytes())
    options: dict[str, Any] = {"config": peer.GOLDEN_CONFIG, "cache_dir": tmp_path}
    for place in (official_file, official_file.parent, renamed, "codicodec", "SonyCSLParis/codicodec"):
        for load in (load_tokenizer, CoDiCodec.from_pretrained):
            loaded = load(place, torch_dtype=torch.float16, **options)
            assert (loaded.dtype, loaded.fingerprint()) == (torch.float16, codec.fingerprint())


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a file or folder"):
        CoDiCodec.from_official(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match=r"contains none of codicodec\.pt"):
        CoDiCodec.from_official(tmp_path)


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.timeout(1800)
def test_full_size_matches_the_official_package(tmp_path: Path) -> None:
    pytest.importorskip("codicodec", reason="needs the extra `peers`: make test-all installs it")
    config = CoDiCodecConfig(edge_padding=False)
    models, audio_module = peer.official_modules(config)
    network = peer.official_network(models, seed=0)
    peer.save_official(network, tmp_path / FILE_NAME)
    audio = peer.test_audio(3 * config.chunk_samples + config.stft_hop_samples, seed=1)
    theirs = peer.official_outputs(config, network, models, audio_module, audio, seed=2)
    del network
    codec = CoDiCodec.from_official(tmp_path, config=config)
    errors = compare(codec, theirs, seed=2)
    assert errors.pop("tokens") == 0
    assert {name: error for name, error in errors.items() if not error < TOLERANCE} == {}, errors
