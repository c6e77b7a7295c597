import io
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.pipelines.data.audio.spectrogram import mel_levels, spectrogram_png

PNG = b"\x89PNG\r\n\x1a\n"


def tone(hz: float, seconds: float = 0.5, rate: int = 48_000, channels: int = 2) -> Tensor:
    time_s = torch.arange(round(rate * seconds)) / rate
    return (0.5 * torch.sin(2 * torch.pi * hz * time_s)).expand(channels, -1)


def test_a_tone_lies_at_its_frequency_and_silence_is_black() -> None:
    low, duration_s = mel_levels(tone(300), 48_000)
    high, _ = mel_levels(tone(5000), 48_000)
    assert duration_s == pytest.approx(0.5)
    assert low.mean(1).argmax() < high.mean(1).argmax()
    assert (low.max(), low.min()) == (0.0, -80.0)
    silent, _ = mel_levels(torch.zeros(1, 1000), 16_000)
    assert (silent == -80).all()


@pytest.mark.parametrize(
    ("audio", "rate"),
    [
        (tone(440), 48_000),
        (torch.zeros(1, 1), 8000),
        (tone(440, 20, 8000, 1)[0], 8000),
        (torch.full((2, 99), torch.nan), 44_100),
    ],
    ids=["stereo", "one sample", "long mono", "NaN"],
)
def test_a_spectrogram_is_drawn_of_any_audio(audio: Tensor, rate: int, tmp_path: Path) -> None:
    spectrogram_png(tmp_path / "a.png", audio, rate, title="a title")
    buffer = io.BytesIO()
    spectrogram_png(buffer, audio, rate, title="a title")
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(PNG)
    assert data == buffer.getvalue(), "the same audio gives the same picture"
    assert len(data) < 400_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_audio_of_a_wrong_shape_is_refused() -> None:
    for audio in (torch.zeros(2, 0), torch.zeros(1, 2, 3)):
        with pytest.raises(ValueError, match="channels, samples"):
            spectrogram_png(io.BytesIO(), audio, 48_000)


def test_drawing_leaves_no_global_figures() -> None:
    import matplotlib._pylab_helpers

    before = len(matplotlib._pylab_helpers.Gcf.figs)
    spectrogram_png(io.BytesIO(), tone(440), 48_000)
    assert len(matplotlib._pylab_helpers.Gcf.figs) == before
