"""Which codec a name, a folder or a file of official weights is, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentune.core.device import Precision
from latentune.core.errors import CheckpointError
from latentune.tokenizers.load import OFFICIAL, load_official, load_tokenizer, tokenizer_class
from latentune.tokenizers.taae import TAAE


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_hub_id_without_a_hub_is_a_clear_error(name: str) -> None:
    hub_id = OFFICIAL[name][1]
    with pytest.raises(CheckpointError, match=f"{hub_id}.*hub"):
        load_tokenizer(name)
    with pytest.raises(CheckpointError, match=f"{hub_id}.*hub"):
        load_official(hub_id)


def test_the_class_is_that_of_the_revision_asked_for(
    tiny_taae: TAAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_taae.save_pretrained(tmp_path)
    asked: list[dict[str, str]] = []

    def fetch(hub_id: str, name: str, **options: str) -> Path:
        asked.append(options)
        return tmp_path / name

    monkeypatch.setattr("latentune.tokenizers.load.fetch_file", fetch)
    monkeypatch.setattr(TAAE, "from_pretrained", lambda path, **options: (path, options))
    assert load_tokenizer("owner/name", revision="x", variant="y") == ("owner/name", {"revision": "x", "variant": "y"})
    assert asked == [{"revision": "x"}]


@pytest.mark.parametrize(("file", "family"), [("codicodec.pt", "CoDiCodec"), ("model_config.json", "TAAE")])
def test_official_weights_are_known_by_their_files(
    file: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_text("")
    monkeypatch.setattr(tokenizer_class(family), "from_official", lambda path, **options: (path, options))
    assert load_official(tmp_path, revision="x") == (tmp_path, {"revision": "x"})
    assert load_official(tmp_path / file) == (tmp_path / file, {})
    (tmp_path / "renamed").mkdir()
    assert load_official(tmp_path / "renamed", family) == (tmp_path / "renamed", {})


def test_official_weights_of_an_unknown_codec_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"codicodec\.pt or model_config\.json"):
        load_official(tmp_path)
    for absent in (tmp_path / "absent", tmp_path / "pytorch_model.bin"):
        with pytest.raises(CheckpointError, match=f"neither a file or folder at {absent}"):
            load_official(absent)
    with pytest.raises(CheckpointError, match="codec of someone/codec cannot be identified"):
        load_official("someone/codec")
    with pytest.raises(ValueError, match="did you mean 'TAAE'"):
        load_official(tmp_path, "TAEE")


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="codicodec-mini"):
        load_tokenizer("no-such-codec")
    with pytest.raises(CheckpointError, match="codicodec-mini"):
        load_tokenizer("folder/weights.safetensors")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_tokenizer(tmp_path)
    for content in ("{}", "[1]", "{"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match="not the config of a tokenizer"):
            load_tokenizer(tmp_path)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_stays_near(precision: Precision, dtype: torch.dtype) -> None:
    audio = 0.1 * torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
    whole, half = load_tokenizer("melcodec-speech"), load_tokenizer("melcodec-speech", precision=precision)
    assert half.dtype == dtype
    expected, encoded = whole.encode(audio, 16_000), half.encode(audio, 16_000)
    torch.testing.assert_close(encoded.latents.float(), expected.latents, atol=0.1, rtol=0)
    played = half.decode_encoded(encoded)
    assert (played.dtype, played.isfinite().all()) == (torch.float32, True)


def test_the_automatic_precision_of_a_cpu_is_fp32() -> None:
    assert load_tokenizer("melcodec-speech", device="cpu", precision="auto").dtype == torch.float32


def test_unknown_devices_and_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown precision 'half'"):
        load_tokenizer("melcodec-speech", precision="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        load_tokenizer("melcodec-speech", device="gpu")
