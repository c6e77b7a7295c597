"""Device, number format and compilation of the networks of a command."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING

from latentune import load_pipeline, load_tokenizer
from latentune.core.compute import ComputeConfig, compile_model
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig


def network() -> DiffusionTransformer:
    return DiffusionTransformer(DiffusionTransformerConfig(binding=LATENT_BINDING, width=16, depth=1, heads=2))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """The modules that were compiled, none of which really is."""
    parts: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *args, **options: parts.append(self))
    return parts


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)],
)
def test_networks_get_their_number_format(precision: Any, dtype: torch.dtype, compiled: list[torch.nn.Module]) -> None:
    first, second = network(), network().to(torch.float16)
    ComputeConfig(device="cpu", precision=precision).prepare(first, second)
    assert first.dtype == second.dtype == dtype
    assert not compiled


def test_a_generator_is_compiled_whole_and_a_codec_in_the_parts_that_it_calls(compiled: list[torch.nn.Module]) -> None:
    generator, codec = network(), load_tokenizer("melcodec-speech")
    ComputeConfig(device="cpu", compile=True).prepare(generator, codec)
    assert compiled[0] is generator
    assert {type(part).__name__ for part in compiled[1:]} >= {"Encoder", "Decoder"}


def test_what_cannot_be_had_is_refused(compiled: list[torch.nn.Module]) -> None:
    with pytest.raises(ValueError, match="unknown precision 'half'"):
        ComputeConfig(device="cpu", precision="half").prepare(network())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give one of them"):
        load_pipeline("melcodec-music-lm", precision="bf16", torch_dtype=torch.bfloat16)


def test_a_pipeline_takes_both(compiled: list[torch.nn.Module]) -> None:
    pipeline = load_pipeline("melcodec-music-dit", precision="bf16", compile=True)
    assert pipeline.generator.dtype == pipeline.tokenizer.dtype == torch.bfloat16
    assert pipeline.generator in compiled
    compiled.clear()
    pipeline = load_pipeline("melcodec-music-lm", compile=True)
    assert pipeline.generator.step in compiled


@pytest.mark.slow
def test_compiled_networks_compute_the_same() -> None:
    audio = torch.randn(1, 1, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    plain, fast = load_tokenizer("melcodec-speech"), load_tokenizer("melcodec-speech")
    compile_model(fast)
    first, second = plain.encode(audio, 16000), fast.encode(audio, 16000)
    torch.testing.assert_close(second.latents, first.latents, atol=1e-3, rtol=1e-3)
    decoded = [
        codec.decode(latents=first.latents, generator=torch.Generator().manual_seed(0)) for codec in (plain, fast)
    ]
    torch.testing.assert_close(decoded[1], decoded[0], atol=1e-3, rtol=1e-2)
