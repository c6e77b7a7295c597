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


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_24"), ("a.flac", "PCM_16"), ("a.wav", "FLOAT")])
def test_pieces_are_written_as_the_whole(tmp_path, name, subtype):
    audio = torch.rand(2, 9000, generator=torch.Generator().manual_seed(0)) * 1.9 - 0.95
    for size in (1000, 4097, 9000):
        write_audio(tmp_path / name, iter(audio.split(size, dim=-1)), 44100, subtype)
        write_audio(tmp_path / f"whole-{name}", audio, 44100, subtype)
        got, rate = read_audio(tmp_path / name)
        assert rate == 44100
        assert torch.equal(got, read_audio(tmp_path / f"whole-{name}")[0])


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([], "has no pieces"),
        ([torch.zeros(1, 5), torch.zeros(2, 5)], "begins with 1 channels and continues with 2"),
        ([torch.zeros(1, 5), torch.zeros(1, 5) / 0], "NaN or inf"),
        ([torch.zeros(1, 5), torch.zeros(5)], r"\[channels, samples\]"),
        ([torch.zeros(()), torch.zeros(5)], r"\[channels, samples\]"),
    ],
)
def test_pieces_that_cannot_be_written_leave_the_old_file(tmp_path, pieces, message):
    write_audio(tmp_path / "a.wav", torch.ones(1, 3), 8000, "FLOAT")
    with pytest.raises(ValueError, match=message):
        write_audio(tmp_path / "a.wav", pieces, 8000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert torch.equal(read_audio(tmp_path / "a.wav")[0], torch.ones(1, 3))


def test_pieces_are_taken_one_at_a_time_and_an_error_between_them_leaves_nothing(tmp_path):
    def pieces():
        yield torch.zeros(1, 5)
        assert list(tmp_path.iterdir())  # the first piece is on its way before the second one is made
        raise RuntimeError("decoder")

    with pytest.raises(RuntimeError, match="decoder"):
        write_audio(tmp_path / "a.wav", pieces(), 8000)
    assert not list(tmp_path.iterdir())
