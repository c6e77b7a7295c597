"""The scripts that compare samples: the same noise for all, distances of latents, statistics of tokens, drift."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from bench_scripts import BENCH, load_script
from noise_generator import NoiseConfig, NoiseGenerator, binding_of
from safetensors.torch import save_file
from served import LoudCodec, stream_pipeline

from latentune.core.random import randn
from latentune.pipelines.generation.pipeline import GenerationPipeline

LEVELS = ((5, 4),)
SIZES = (5, 4)


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> Any:
    script = load_script("step_quality")

    def load(name: str) -> GenerationPipeline:
        codec, dim = LoudCodec().eval(), LoudCodec().spec.latent_dim
        binding = replace(binding_of(codec), latent_mean=(0.0,) * dim, latent_std=(1.0,) * dim)
        return GenerationPipeline(codec, NoiseGenerator(NoiseConfig(binding=binding, stream=name)).eval())

    monkeypatch.setattr(script, "load_pipeline", load)
    return script


def run(script: Any, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    script.main()


def test_systems_have_the_same_noise_and_are_made_once(
    quality: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("calm\n\nfast\n")
    words = ["nothing", tmp_path / "out", "--prompts", tmp_path / "prompts.txt", "--num", 2, "--seconds", 0.1]
    systems = ["--system", "one=latents", "--system", "half=latents:strength=0.5", "--system", "tokens=tokens"]
    run(quality, monkeypatch, *words, *systems, "--sample-only")
    one, half = (quality.latents_of(tmp_path / "out" / name) for name in ("one", "half"))
    shift = torch.full((4, 1, 1), 4 / 50)  # of the prompts, with which this generator moves
    torch.testing.assert_close(one - shift, 2 * (half - shift))
    assert len(list((tmp_path / "out" / "one").glob("*.wav"))) == 4
    assert soundfile.info(tmp_path / "out" / "one" / "001_1.wav").frames == 400
    assert quality.cost_of(tmp_path / "out" / "one")["samples"] == 4
    between = quality.rms_between(tmp_path / "out" / "half", tmp_path / "out" / "one")
    assert between == pytest.approx(float((one - half).square().mean().sqrt()), abs=1e-4)
    assert quality.rms_between(tmp_path / "out" / "tokens", tmp_path / "out" / "one") is None
    for name in ("000_0.wav", "000_1.wav", "cost_1.json"):
        (tmp_path / "out" / "one" / name).unlink()
    run(quality, monkeypatch, *words, *systems, "--sample-only")
    assert not (tmp_path / "out" / "one" / "000_0.wav").exists()
    assert (tmp_path / "out" / "one" / "000_1.wav").exists()
    torch.testing.assert_close(quality.latents_of(tmp_path / "out" / "one"), one)


def test_the_table_has_distances_costs_and_differences(
    quality: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real").mkdir()
    for number in range(3):
        audio = randn((48_000,), torch.Generator().manual_seed(number), torch.zeros(())).numpy() * 0.1
        soundfile.write(tmp_path / "real" / f"{number}.wav", audio, 16_000)
    words = [tmp_path / "real", tmp_path / "out", "--num", 1, "--batch", 2, "--seconds", 4]
    systems = ["--system", "one=latents", "--system", "half=latents:strength=0.5"]
    run(quality, monkeypatch, *words, *systems, "--exact", "one")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["system"] for row in rows] == ["one", "half"]
    assert rows[0]["rms_from_exact"] == 0.0 < rows[1]["rms_from_exact"]
    latents = quality.latents_of(tmp_path / "out" / "half")
    assert rows[1]["deviation"] == pytest.approx(float(latents.std()), abs=1e-3)
    assert all(row["fad_musicnn"] > 0 and "kad_musicnn" in row and row["samples"] == 2 for row in rows)


def test_an_unknown_exact_system_is_refused_before_anything_is_made(
    quality: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(quality, monkeypatch, "nothing", tmp_path / "out", "--system", "one=latents", "--exact", "two")
    assert "'two' is not one of one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def statistics() -> Any:
    return load_script("token_statistics")


def walk(seed: int, items: int = 400, stays: float = 0.9) -> torch.Tensor:
    """Digits [items, 6, 3, 2]: the second is the first modulo 4, and the first mostly stays between chunks."""
    random = torch.Generator().manual_seed(seed)
    first = torch.randint(5, (items, 6, 3), generator=random)
    for chunk in range(1, 6):
        same = torch.rand(items, 3, generator=random) < stays
        first[:, chunk] = torch.where(same, first[:, chunk - 1], first[:, chunk])
    return torch.stack([first, first % 4], -1)


def test_the_same_process_has_no_divergence_and_each_broken_bond_has_one(statistics: Any) -> None:
    true = statistics.frequencies(walk(0), SIZES)
    same = statistics.divergences(true, statistics.frequencies(walk(1), SIZES))
    assert max(same.values()) < 0.02
    other = walk(2)
    broken = other.clone()
    broken[..., 1] = broken.flip(0)[..., 1]  # digits of other items
    pairs = statistics.divergences(true, statistics.frequencies(broken, SIZES))
    assert pairs["digits"] > 0.5
    assert max(pairs["levels"], pairs["places"], pairs["neighbors"], pairs["chunks"]) < 0.02
    jumps = statistics.divergences(true, statistics.frequencies(walk(3, stays=0.0), SIZES))
    assert jumps["chunks"] > 0.5
    assert max(jumps["levels"], jumps["digits"], jumps["neighbors"]) < 0.02
    turned = walk(4)
    turned[:, :, 0] = 0  # one of three places
    assert statistics.divergences(true, statistics.frequencies(turned, SIZES))["places"] > 0.4


def test_digits_are_those_of_the_codebooks(statistics: Any) -> None:
    tokens = torch.arange(20)[:, None]
    assert torch.equal(statistics.digits_of(tokens, LEVELS), torch.stack([tokens[:, 0] % 5, tokens[:, 0] // 5], -1))


def test_parts_are_as_long_as_asked_for_and_of_different_items(statistics: Any) -> None:
    items = [torch.full((length, 3, 1), number) for number, length in enumerate((2, 9, 5, 7))]
    found = statistics.drawn(items, 3, 5)
    assert found.shape == (3, 5, 3, 1)
    assert sorted(found[:, 0, 0, 0].tolist()) == [1, 2, 3]  # the first is too short


def test_folders_of_samples_are_read_in_whole_chunks(statistics: Any, tmp_path: Path) -> None:
    save_file({"tokens": torch.arange(14).view(2, 7, 1)}, tmp_path / "streams_0.safetensors")
    found = statistics.chunks_of(tmp_path, LoudCodec().spec)  # two tokens a chunk
    assert [x.flatten().tolist() for x in found] == [[0, 1, 2, 3, 4, 5], [7, 8, 9, 10, 11, 12]]


def test_what_a_stream_drifts_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    script: Any = load_script("stream_drift")
    monkeypatch.setattr(script, "load_pipeline", lambda name: stream_pipeline())
    run(script, monkeypatch, "--pipeline", "any", "--seconds", 6, "--part-s", 2, "--output", tmp_path / "drift.json")
    table = json.loads((tmp_path / "drift.json").read_text())
    loudness = table["0 "]["loudness_lufs"]
    assert len(loudness) == 3
    assert table["mean"]["loudness_lufs_change"] == [pytest.approx(loudness[-1] - loudness[0], abs=0.01)]
    assert table["mean"]["loudness_lufs_change_deviation"] == [0.0]


def test_the_high_share_is_that_of_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    script: Any = load_script("stream_drift")
    time = torch.arange(48_000) / 24_000
    low, high = torch.sin(6283.1853 * 0.5 * time), torch.sin(6283.1853 * 6 * time)
    assert script.high_share_db((low + 0.1 * high)[None], 24_000) == pytest.approx(-20.04, abs=0.1)
