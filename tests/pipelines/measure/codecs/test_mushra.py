"""A MUSHRA listening test of reconstructions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from codec_runs import config

from latentune.core.errors import ConfigError
from latentune.pipelines.data.audio import read_audio
from latentune.pipelines.measure.codecs.mushra import PLACE, low_pass, write_mushra
from latentune.pipelines.measure.codecs.run import run_experiment
from latentune.pipelines.measure.results.audio import AudioCell, AudioRow

RATE = 48_000


@pytest.mark.parametrize("edge_hz", [3500.0, 7000.0])
def test_an_anchor_keeps_what_is_below_its_edge_and_nothing_above(edge_hz: float) -> None:
    """The mask of ITU-R BS.1534-3: at most 0.1 dB up to the edge, 25 dB down 500 Hz and 50 dB 1000 Hz above it."""
    time = torch.arange(RATE) / RATE
    for frequency, low_db, high_db in (
        (100.0, -0.1, 0.1),
        (edge_hz, -0.1, 0.1),
        (edge_hz + 500, -300.0, -50.0),
        (15_000.0, -300.0, -50.0),
    ):
        tone = torch.sin(2 * torch.pi * frequency * time)[None]
        kept = low_pass(tone, RATE, edge_hz)[:, 4000:-4000]
        gain_db = 10 * (kept.square().mean() / tone[:, 4000:-4000].square().mean()).clamp_min(1e-30).log10().item()
        assert low_db <= gain_db <= high_db, frequency
    tone = torch.sin(2 * torch.pi * 440 * time)[None]
    torch.testing.assert_close(low_pass(tone, RATE, edge_hz)[:, 4000:-4000], tone[:, 4000:-4000], atol=2e-3, rtol=0)


def test_every_file_that_the_page_names_is_there(tmp_path: Path) -> None:
    audio = 0.1 * torch.randn(2, 4800, generator=torch.Generator().manual_seed(0))
    heard = {"original": audio, "latents, 1 step": 0.5 * audio, "Latents (1 step)": audio}
    cells = [AudioCell(label, one, RATE) for label, one in heard.items()]
    rows = [AudioRow(caption=name, cells=cells) for name in ("a.wav", "b.wav")]
    folder = write_mushra(tmp_path, rows, "a test")
    test = yaml.safe_load((folder / "mushra.yaml").read_text())
    kind, *trials = test["pages"][1]
    assert kind == "random"
    assert [trial["id"] for trial in trials] == ["trial_01", "trial_02"]
    for trial in trials:
        assert list(trial["stimuli"]) == ["anchor35", "anchor70", "latents-1-step", "latents-1-step-2"]
        for place in (trial["reference"], *trial["stimuli"].values()):
            found, rate = read_audio(folder / Path(place).relative_to(PLACE))
            assert (found.shape, rate) == (audio.shape, RATE)
    torch.testing.assert_close(read_audio(folder / "01" / "reference.wav")[0], audio, atol=1e-6, rtol=0)
    torch.testing.assert_close(read_audio(folder / "01" / "latents-1-step.wav")[0], 0.5 * audio, atol=1e-6, rtol=0)


def test_an_anchor_beyond_the_rate_is_left_out(tmp_path: Path) -> None:
    cells = [AudioCell(label, torch.ones(1, 800), 8000) for label in ("original", "tokens")]
    folder = write_mushra(tmp_path, [AudioRow(caption="a", cells=cells)], "a test")
    assert {path.name for path in (folder / "01").iterdir()} == {"reference.wav", "anchor35.wav", "tokens.wav"}


def test_reconstruction_writes_it_where_it_is_asked_for(folder: Path, tmp_path: Path, tiny_melcodec: Any) -> None:
    settings = config(
        folder, tmp_path, figures=("mel_distance",), num_players=2, player_s=0.1, mushra=True, references=("original",)
    )
    run_experiment("reconstruction", settings, tiny_melcodec)
    assert {path.name for path in (tmp_path / "mushra").iterdir()} == {"01", "02", "mushra.yaml"}
    names = {path.name for path in (tmp_path / "mushra" / "01").iterdir()}
    assert names == {"reference.wav", "anchor35.wav", "latents.wav", "tokens.wav"}
    with pytest.raises(ConfigError, match="set both"):
        config(folder, num_players=2, mushra=True)
    with pytest.raises(ConfigError, match="set both"):
        config(folder, tmp_path, num_players=0, mushra=True)
