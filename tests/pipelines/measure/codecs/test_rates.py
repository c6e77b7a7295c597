"""Rate and distortion of latents that are quantized again."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from codec_runs import config

from latentune.core.errors import ConfigError
from latentune.pipelines.measure.codecs.rates import Cells
from latentune.pipelines.measure.codecs.run import run_experiment


@pytest.mark.parametrize("num_levels", [2, 3, 7])
def test_a_cell_is_decoded_to_its_middle_and_its_middle_is_in_it(num_levels: int) -> None:
    cells = Cells(num_levels, 1, 0.5)
    tokens = torch.arange(num_levels)[:, None]
    assert torch.equal(cells.encode(cells.decode(tokens)), tokens)
    values = torch.linspace(-0.999, 0.999, 1001)[:, None]
    latents = torch.atanh(values) / 0.5
    back = torch.tanh(0.5 * cells.decode(cells.encode(latents)))
    assert float((back - values).abs().max()) <= 1 / num_levels + 1e-4
    assert torch.equal(cells.encode(torch.tensor([[-1e6], [1e6]])), torch.tensor([[0], [num_levels - 1]]))


def test_more_bits_are_nearer_to_the_latents(folder: Path, tmp_path: Path, tiny_melcodec: Any) -> None:
    pytest.importorskip("vector_quantize_pytorch")
    settings = config(
        folder,
        tmp_path,
        figures=("mel_distance", "si_sdr_db"),
        levels=(2, 64, 1024),
        fit_audio=str(folder),
        codebooks=(1, 2),
        codebook_size=4,
    )
    table = run_experiment("rates", settings, tiny_melcodec).table
    names = ["fsq, 2 levels", "fsq, 64 levels", "fsq, 1024 levels", "rvq, 1 codebooks", "rvq, 2 codebooks"]
    assert list(table.systems) == ["latents", "tokens", *names]
    spec = tiny_melcodec.spec
    rates = [table.systems[name]["bitrate_bps"] for name in names]
    per_frame = [spec.latent_dim, 6 * spec.latent_dim, 10 * spec.latent_dim, 2, 4]
    assert rates == pytest.approx([spec.latent_rate_hz * bits for bits in per_frame])
    for name in (*names, "tokens"):
        assert 0 < table.systems[name]["entropy_bitrate_bps"] <= table.systems[name]["bitrate_bps"] + 1e-6, name
    values = {name: table.estimate(name, "mel_distance").value for name in table.systems}
    assert values["fsq, 1024 levels"] == pytest.approx(values["latents"], rel=1e-2)
    gaps = [abs(values[name] - values["latents"]) for name in names[:3]]  # type: ignore[operator]
    assert gaps == sorted(gaps, reverse=True)
    with open(tmp_path / "rates.csv") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert rows["rvq, 2 codebooks"]["quantizer"] == "rvq"
    assert float(rows["fsq, 2 levels"]["bitrate_bps"]) == pytest.approx(rates[0])
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_audio_through_many_levels_is_that_of_the_latents(folder: Path, tiny_codec: Any) -> None:
    """For a codec that draws noise and has chunks of several frames: all systems hear the same noise."""
    settings = config(folder, figures=("mel_distance",), levels=(2**14,), streams=("latents",), options={"steps": 1})
    result = run_experiment("rates", settings, tiny_codec)
    values = [result.table.estimate(name, "mel_distance").value for name in result.table.systems]
    assert values[1] == pytest.approx(values[0], rel=1e-2)
    assert any("no residual codebooks" in line for line in result.table.warnings)


def test_what_cannot_be_compared_is_refused(folder: Path, tiny_melcodec: Any) -> None:
    with pytest.raises(ConfigError, match="nothing to compare"):
        run_experiment("rates", config(folder, levels=()), tiny_melcodec)
    with pytest.raises(ConfigError, match="nothing to compare"):
        run_experiment("rates", config(folder, figures=("seam_db",)), tiny_melcodec)
    for settings in ({"levels": (1,)}, {"codebooks": ()}, {"codebooks": (0, 1)}):
        with pytest.raises(ConfigError, match="must be numbers from"):
            config(folder, **settings)
    with pytest.raises(ValueError, match="too few for codebooks of 256"):
        run_experiment("rates", config(folder, fit_audio=str(folder)), tiny_melcodec)
