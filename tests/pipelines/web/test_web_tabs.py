"""The handlers of the tabs, called without a page: what they return, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gradio")
import gradio as gr
from made_dataset import make_dataset

from latentune.core.errors import AudioError, ConfigError
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.hosting.jobs import QueueFullError
from latentune.pipelines.hosting.models import Named
from latentune.pipelines.web.compare import NO_VALUE, CompareTab
from latentune.pipelines.web.datasets import DatasetsTab, picked
from latentune.pipelines.web.generate import CONTINUE, LOOP, MODES, NEW, REPLACE, VARY, GenerateTab
from latentune.pipelines.web.live import LiveTab
from latentune.pipelines.web.page import shown
from latentune.pipelines.web.pictures import SPECTROGRAM_HEIGHT, WAVE_HEIGHT, WIDTH, spectrogram, stream, waveform
from latentune.pipelines.web.speak import SpeakTab
from latentune.pipelines.web.tokenize import TokenizeTab


def quiet(*arguments: Any, **options: Any) -> None:
    """Stands for the bar of the page."""


def values_of(tab: Any, name: str, **changed: Any) -> list[Any]:
    """The values of the option fields, as the form shows them."""
    return [changed.get(option, tab.form._default(option, name)) for option in tab.form.names]


def made(tab: GenerateTab, mode: str, path: str | None = None, **changed: Any) -> tuple[Any, ...]:
    asked: dict[str, Any] = {
        "prompt": "calm",
        "seconds": 0.3,
        "seed": "1",
        "start": 0.1,
        "end": 0.2,
        "strength": 0.5,
        **changed,
    }
    name = str(asked.pop("name", "slow"))
    fields = [asked.pop(key) for key in ("prompt", "seconds", "seed")]
    region = [asked.pop(key) for key in ("start", "end", "strength")]
    # a variation has a strength of its own, as has the sampling of the generator of noise
    options = {"strength": "" if mode == VARY else 1.0, **asked.pop("options", {})}
    return tab.generate(name, mode, *fields, path, *region, quiet, *values_of(tab, name, **options))


def test_a_new_item_has_its_length_and_repeats_with_its_seed(page: Any) -> None:
    tab = GenerateTab(page)
    (rate, audio), drawn, facts = made(tab, NEW)
    assert (rate, audio.shape, audio.dtype) == (4000, (1200, 2), np.int16)
    assert 1000 < np.sqrt(np.square(audio.astype(float)).mean()) < 10_000
    assert drawn.shape == (SPECTROGRAM_HEIGHT, WIDTH, 3)
    assert "**seed** 1 ·" in facts
    assert np.array_equal(made(tab, NEW)[0][1], audio)
    assert not np.array_equal(made(tab, NEW, seed="")[0][1], audio)
    assert not np.array_equal(made(tab, NEW, options={"strength": 0.1})[0][1], audio)
    assert len(page.jobs) == 0


@pytest.mark.parametrize(("mode", "samples"), [(CONTINUE, 3200), (REPLACE, 2000), (VARY, 2000), (LOOP, 2000)])
def test_a_recording_is_edited(page: Any, recording: str, mode: str, samples: int) -> None:
    (_, audio), *_ = made(GenerateTab(page), mode, recording, seconds=0.3 if mode == CONTINUE else 0.1)
    assert len(audio) == samples
    assert set(MODES) == {NEW, CONTINUE, REPLACE, VARY, LOOP}


def test_what_cannot_be_generated_is_refused(page: Any, recording: str) -> None:
    tab = GenerateTab(page)
    with pytest.raises(ValueError, match="at most 2 here, got 30"):
        made(tab, NEW, seconds=30)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        made(tab, NEW, seed="-1")
    with pytest.raises(ValueError, match="seed must be a whole number"):
        made(tab, NEW, seed=str(2**32))
    with pytest.raises(AudioError, match="upload or record one"):
        made(tab, CONTINUE)
    with pytest.raises(ValueError, match="must lie within the audio"):
        made(tab, REPLACE, recording, start=0.1, end=7.0)
    with pytest.raises(ConfigError, match=r"guidance_scales\.text: expected float"):
        made(tab, NEW, options={"guidance_of": "text=much"})
    with pytest.raises(ValueError, match="only the first chunks"):
        made(tab, REPLACE, recording, name="live")
    page.jobs.admit(), page.jobs.admit()
    with pytest.raises(QueueFullError):
        made(tab, NEW)


def test_the_form_shows_the_options_of_the_chosen_pipeline(page: Any) -> None:
    form = GenerateTab(page).form
    assert {"guidance", "negative", "strength", "temperature", "top_k"} <= set(form.names)
    assert "scheduler" not in form.names
    for name in ("slow", "live"):
        updates = dict(zip(form.names, form.updates(name), strict=True))
        assert updates["temperature"]["visible"] == (name == "live")
        assert updates["guidance"]["value"] == 1.0
    assert form.read("live", [{"top_k": "5"}.get(option) for option in form.names]) == {"top_k": 5}


def test_a_region_is_chosen_by_clicks(page: Any, recording: str) -> None:
    tab = GenerateTab(page)
    drawn, duration_s, start, end = tab.heard(recording)
    assert (duration_s, start["maximum"], end["maximum"]) == (0.5, 0.5, 0.5)
    assert drawn[:, : WIDTH // 4].mean() < drawn[:, WIDTH * 2 // 5 : WIDTH * 3 // 5].mean()
    click = SimpleNamespace(index=[WIDTH // 2, 3])
    assert tab.picked(1.0, 0.2, 0.9, click) == (0.5, 0.9)  # type: ignore[arg-type]
    assert tab.picked(1.0, 0.1, 0.6, click) == (0.1, 0.5)  # type: ignore[arg-type]
    assert tab.heard(None)[0] is None


def test_a_recording_becomes_streams_and_pictures(page: Any, recording: str) -> None:
    tab = TokenizeTab(page)
    state, facts, wave, sound, latents, tokens, *rest = tab.encode("mel", recording)
    assert state.tokens.shape[1] == 2
    assert "| bit rate |" in facts
    assert wave.shape == (WAVE_HEIGHT, WIDTH, 4)
    assert all(picture.shape[1:] == (WIDTH, 3) for picture in (sound, latents, tokens))
    assert [audio.shape for _, audio in rest[:2]] == [(4000, 1)] * 2
    assert rest[2]["label"] == f"Frame, 0 to {len(state.tokens) - 1}"


def test_tokens_are_changed_flipped_and_restored(page: Any, recording: str) -> None:
    tab = TokenizeTab(page)
    state, *rest = tab.encode("mel", recording)
    plain = rest[6][1]
    value = int(state.tokens[3, 1])
    changed, text, (_, sound), *_ = tab.change(state, 3, 1, 0 if value else 1)
    assert changed.num_changed == 1
    assert "**tokens changed** 1 of" in text
    assert not np.array_equal(sound, plain)
    flipped, text, *_ = tab.flip(changed, 50.0, "4")
    assert flipped.num_changed > len(state.tokens) // 2
    assert "**seed** 4" in text
    assert torch.equal(tab.flip(changed, 50.0, "4")[0].tokens, flipped.tokens)
    assert tab.flip(changed, 0.0, "4")[0].num_changed == 1
    restored, _, (_, sound), *_ = tab.undo(flipped)
    assert restored.num_changed == 0
    assert np.array_equal(sound, plain)


@pytest.mark.parametrize(
    ("place", "reason"), [((99, 0, 0), "frame must"), ((0, 2, 0), "codebook"), ((0, 0, -1), "token")]
)
def test_a_token_that_does_not_exist_is_refused(page: Any, recording: str, place: Any, reason: str) -> None:
    tab = TokenizeTab(page)
    with pytest.raises(ValueError, match="encode a recording first"):
        tab.change(None, *place)
    with pytest.raises(ValueError, match=reason):
        tab.change(tab.encode("mel", recording)[0], *place)


def test_a_stream_is_fetched_once_changed_and_stopped(page: Any) -> None:
    tab = LiveTab(page)
    assert list(tab.pipelines) == ["live"]
    live, player, facts = tab.start(None, "live", "calm", "3", *values_of(tab, "live"))
    assert "**seed** 3" in facts
    token = player.partition("/live/")[2].partition('"')[0]
    assert page.streams.take(token) is live
    assert page.streams.take(token) is None
    assert live.next_bytes() is not None
    tab.change(live, "live", "fast", *values_of(tab, "live", temperature=0.5))
    assert live.session.prompt == "fast"
    assert live.session.stream.sampling.temperature == 0.5
    with pytest.raises(ValueError, match="top_p must lie"):
        tab.change(live, "live", "fast", *values_of(tab, "live", top_p=2.0))
    tab.stop(live)
    while live.next_bytes() is not None:
        pass
    live.close()
    assert live.made_s < 3.0
    with pytest.raises(ValueError, match="no stream is running"):
        tab.change(live, "live", "fast", *values_of(tab, "live"))
    with pytest.raises(ValueError, match="temperature must"):
        tab.start(None, "live", "", "", *values_of(tab, "live", temperature=-1.0))
    assert len(page.jobs) == 0


def test_a_text_is_said(page: Any, recording: str) -> None:
    tab = SpeakTab(page)
    assert list(tab.pipelines) == ["voice"]
    (_, audio), _, facts = tab.speak("voice", "One two. Three.", None, 1.0, "2", quiet)
    assert len(audio) == 1200
    assert "**seed** 2" in facts
    assert len(tab.speak("voice", "One two.", recording, 2.0, "", quiet)[0][1]) == 400
    with pytest.raises(ValueError, match="nothing to say"):
        tab.speak("voice", " ", None, 1.0, "", quiet)
    with pytest.raises(ValueError, match="allowed are 2"):
        tab.speak("voice", "one " * 30, None, 1.0, "", quiet)


def test_two_systems_are_compared(page: Any, recording: str) -> None:
    tab = CompareTab(page)
    assert {"mel, latents", "mel, tokens", "original"} <= set(tab.names)
    *players, table = tab.compare(recording, "original", "mel, tokens")
    assert [rate for rate, _ in players[::2]] == [4000, 4000, 8000]
    rows = {row[0]: row[1:] for row in table.value["data"]}
    assert table.value["headers"] == ["at 4000 Hz", "original", "mel, tokens", "better"]
    assert rows["bit rate, kbit/s"][0] == NO_VALUE
    distance = next(values for name, values in rows.items() if name.startswith("multi-resolution mel"))
    assert float(distance[0]) < 1e-3 < float(distance[1])


def test_items_of_a_dataset_are_listed_played_and_counted(page: Any, tmp_path: Path) -> None:
    made = make_dataset(tmp_path, [0.2, 0.3])
    page.models.datasets = Named("dataset", [str(made["data"])], LatentDataset)
    tab = DatasetsTab(page)
    rows, facts = tab.items("data", 1)
    assert [row[:3] for row in rows] == [[0, "0.wav", 0.2], [1, "1.wav", 0.3]]
    assert [row[3:] for row in rows] == [["a", ""], ["b", "noise 1"]]
    assert "**items** 2 ·" in facts
    (rate, audio), _, _, about = tab.play("data", 1)
    assert (rate, len(audio)) == (48_000, 14_400)
    assert "noise 1" in about
    books, rates = tab.usage("data")
    assert books[0][0] == 0
    assert "bit/s" in rates
    with pytest.raises(ValueError, match=r"page must lie in 1\.\.1"):
        tab.items("data", 2)
    with pytest.raises(ValueError, match=r"item must lie in 0\.\.1, got 2"):
        tab.play("data", 2)
    assert picked("data", 2, SimpleNamespace(index=[3, 0])) == 53  # type: ignore[arg-type]


def test_pictures_show_what_is_there() -> None:
    ramp = torch.linspace(0, 1, 8000)[None]
    wave = waveform(torch.cat([ramp, ramp]))
    assert wave[..., 3].any(0).all()
    assert (wave[: WAVE_HEIGHT // 4, :, 3].any(0).nonzero()[0] > WIDTH // 3).all()
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 8000)[None]
    bright = spectrogram(tone, 8000).sum(-1).mean(1).argmax() / SPECTROGRAM_HEIGHT
    assert 0.3 < bright < 0.7
    rows = stream(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert np.array_equal(rows[0, 0], rows[-1, -1])
    assert not np.array_equal(rows[0, 0], rows[-1, 0])
    assert waveform(torch.zeros(1, 1)).shape == (WAVE_HEIGHT, WIDTH, 4)


def test_mistakes_are_shown_and_the_inside_of_the_server_is_not() -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(gr.Error, match="No such thing"):
        shown(fail)(ValueError("no such\nthing"))
    with pytest.raises(gr.Error, match="failed inside the server") as error:
        shown(fail)(RuntimeError("/secret"))
    assert "secret" not in str(error.value)
