"""Writing audio: what is written is what is read, or nothing is written."""

import pytest
import torch

from latentune.pipelines.data.audio import read_audio, write_audio


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [("a.wav", "PCM_16", 4e-5), ("a.wav", "PCM_24", 2e-7), ("a.wav", "FLOAT", 0.0), ("a.flac", "PCM_24", 2e-7)],
)
def test_round_trip(tmp_path, name, subtype, tolerance):
    audio = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0)) * 1.9 - 0.95
    write_audio(tmp_path / name, audio, 44100, subtype)
    got, rate = read_audio(tmp_path / name)
    assert rate == 44100
    assert float((got - audio).abs().max()) <= tolerance
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_only_float_goes_beyond_one(tmp_path):
    loud = torch.tensor([[2.0, -3.0, 0.5]])
    write_audio(tmp_path / "a.wav", loud, 8000, "FLOAT")
    assert torch.equal(read_audio(tmp_path / "a.wav")[0], loud)
    write_audio(tmp_path / "a.wav", loud, 8000)
    torch.testing.assert_close(read_audio(tmp_path / "a.wav")[0], torch.tensor([[1.0, -1.0, 0.5]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "audio", "subtype", "error", "message"),
    [
        ("a.wav", torch.zeros(1000), "PCM_24", ValueError, r"\[channels, samples\]"),
        ("a.wav", torch.zeros(2, 0), "PCM_24", ValueError, "at least 1 sample"),
        ("a.wav", torch.full((1, 5), torch.nan), "PCM_24", ValueError, "NaN"),
        ("a.wav", torch.zeros(1, 5), "PCM_8", ValueError, "allowed are PCM_16, PCM_24, FLOAT"),
        ("a.flac", torch.zeros(1, 5), "FLOAT", ValueError, "use .wav"),
        ("a.mp3", torch.zeros(1, 5), "PCM_16", ValueError, "use .wav"),
        ("no_folder/a.wav", torch.zeros(1, 5), "PCM_16", FileNotFoundError, "no folder"),
        ("b.flac", torch.zeros(9, 5), "PCM_16", OSError, "cannot write"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, name, audio, subtype, error, message):
    with pytest.raises(error, match=message):
        write_audio(tmp_path / name, audio, 8000, subtype)
    assert list(tmp_path.iterdir()) == []
