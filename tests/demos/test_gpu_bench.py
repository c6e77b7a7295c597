"""The benchmark for one GPU, on the CPU at tiny sizes: its rows, what fails, and what makes the host wait."""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from bench_scripts import BENCH
from torch._dynamo.testing import CompileCounter

from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.codicodec.decoding import decode_values


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("gpu_all")


def rows(script: ModuleType, output: Path, *words: str, minutes: str = "9") -> list[dict[str, Any]]:
    arguments = ["--tiny", "--device", "cpu", "--no-compile", "--minutes", minutes, "--output", str(output)]
    script.main([*arguments, "--only", *words])
    found: list[dict[str, Any]] = json.loads(output.read_text())["rows"]
    return found


def test_encoding_reads_no_more_values_for_more_audio_and_steps_read_none(script: ModuleType, tmp_path: Path) -> None:
    found = rows(script, tmp_path / "gpu.json", "taae", "dit", "lm fp32")
    assert not [row for row in found if "failed" in row]
    assert {row["part"] for row in found} == {"taae-tiny fp32", "taae-tiny bf16", "dit fp32", "dit bf16", "lm fp32"}
    for job in ("encode", "decode"):
        assert len({row["host_reads"] for row in found if row.get("job") == job}) == 1
    steps = [row for row in found if row.get("job") in ("training step", "sampling step")]
    assert [row["host_reads"] for row in steps] == [0] * 4
    equal = [row["tokens_equal"] for row in found if row.get("job") == "tokens"]
    assert equal[0] == 1
    assert 0.5 < equal[1] <= 1


def test_what_fails_or_comes_too_late_is_a_row(script: ModuleType, tmp_path: Path) -> None:
    flash = rows(script, tmp_path / "flash.json", "flash", "stream")
    assert all("flash" in row["failed"] for row in flash[:-1])
    assert flash[-1]["time_to_first_audio_s"] > 0
    late = rows(script, tmp_path / "late.json", "dit", minutes="0")
    assert [row["failed"] for row in late] == ["TimeoutError: no time was left for this part"] * 2


def test_host_reads_are_counted(script: ModuleType) -> None:
    x = torch.arange(3.0)
    assert script.host_reads(lambda: x[x > 1].sum().item()) == 2
    assert script.host_reads(lambda: x + 1) == 0
    assert script.host_reads(lambda: x[x > 1].sum().item(), "meta") == 0
    assert script.host_reads(lambda: x.to("meta"), "meta") == 1
    assert script.host_reads(lambda: x.to("meta", non_blocking=True), "meta") == 0


@pytest.mark.parametrize("mode", ["parallel", "autoregressive"])
def test_decoding_with_codicodec_waits_for_nothing(
    script: ModuleType, mode: Literal["parallel", "autoregressive"]
) -> None:
    """The meta device stands in for a GPU: a value of it that is read is an error, and copies to it are seen."""
    config = CoDiCodecConfig.tiny()
    codec = CoDiCodec(config).eval().to("meta")
    values = torch.zeros(2, 7, config.num_summaries, len(config.levels), device="meta")
    pieces: list[Any] = []
    with torch.no_grad():
        options: dict[str, Any] = {"mode": mode, "steps": 3, "max_chunks": 3}
        decode = lambda: pieces.extend(decode_values(codec, values, [7, 4], None, **options))  # noqa: E731
        assert script.host_reads(decode, "meta") == 0
    assert len(pieces) == 2 + 7 + 4


def test_codicodec_reads_no_more_values_for_more_audio(script: ModuleType, tiny_codec: CoDiCodec) -> None:
    spec, reads = tiny_codec.spec, set()
    for chunks in (2, 7):
        audio = torch.zeros(1, spec.channels, spec.max_samples(chunks))
        latents = torch.zeros(1, chunks * spec.chunk_latents, spec.latent_dim)
        encode = partial(tiny_codec.encode, audio, spec.sample_rate, max_chunks=3)
        decode = partial(tiny_codec.decode, latents=latents, steps=1, max_chunks=3)
        reads.add((script.host_reads(encode), script.host_reads(decode)))
    assert len(reads) == 1


def test_a_second_call_makes_no_new_graph(script: ModuleType) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    codec = script.random_codec("taae-tiny", torch.float32, torch.device("cpu"))
    for part in codec.compiled_parts:
        part.compile(backend=counter)
    calls = script.codec_calls(codec, 0.5, torch.device("cpu"))
    for call in calls.values():
        call()
    first = counter.frame_count
    for call in calls.values():
        call()
    torch._dynamo.reset()
    assert counter.frame_count == first > 0
