"""Reading audio: every format, parts of files, and what is wrong with files."""

import av
import numpy as np
import pytest
import soundfile
import torch
from audio_files import tones, write_with_ffmpeg

from latentune.core.errors import AudioError
from latentune.pipelines.data.audio import probe, read_audio

RATE = 16000
SECONDS = 1.5  # of `tones`


def likeness(got: torch.Tensor, want: np.ndarray) -> float:
    """Greatest correlation of the middle second over small shifts (codecs may delay)."""
    want_tensor = torch.from_numpy(want)
    middle = slice(len(want[0]) // 3, 2 * len(want[0]) // 3)
    reference = want_tensor[:, middle].flatten()
    best = 0.0
    for shift in range(-200, 201):
        part = got[:, middle.start + shift : middle.stop + shift].flatten()
        best = max(best, float(torch.corrcoef(torch.stack([reference, part]))[0, 1]))
    return best


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 4e-5),
        ("a.wav", "PCM_24", 2e-7),
        ("a.wav", "FLOAT", 0.0),
        ("a.flac", "PCM_16", 4e-5),
        ("a.aiff", "PCM_16", 4e-5),
    ],
)
def test_lossless_files_come_back_exactly(tmp_path, name, subtype, tolerance):
    audio = tones()
    soundfile.write(tmp_path / name, audio.T, RATE, subtype=subtype)
    got, rate = read_audio(tmp_path / name)
    assert (rate, got.dtype, got.shape) == (RATE, torch.float32, audio.shape)
    assert got.is_contiguous()
    assert float((got - torch.from_numpy(audio)).abs().max()) <= tolerance
    info = probe(tmp_path / name)
    assert (info.num_samples, info.sample_rate, info.channels) == (audio.shape[1], RATE, 2)
    assert info.duration_s == SECONDS


@pytest.mark.parametrize(("name", "kind"), [("a.ogg", "VORBIS"), ("a.opus", "OPUS"), ("a.mp3", "MPEG_LAYER_III")])
def test_lossy_files_of_libsndfile(tmp_path, name, kind):
    audio = tones(48000)
    container = "MP3" if kind.startswith("MPEG") else "OGG"
    soundfile.write(tmp_path / name, audio.T, 48000, format=container, subtype=kind)
    got, rate = read_audio(tmp_path / name)
    assert rate == 48000
    assert got.shape[1] == probe(tmp_path / name).num_samples
    assert abs(got.shape[1] - audio.shape[1]) < 4000
    assert likeness(got, audio) > 0.99


@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [("a.m4a", "aac", None), ("a.aac", "aac", "adts"), ("a.webm", "libopus", None), ("a.mkv", "pcm_s16le", None)],
)
def test_files_of_ffmpeg(tmp_path, name, codec, format):
    audio = tones(48000)
    write_with_ffmpeg(tmp_path / name, audio, 48000, codec, format)
    got, rate = read_audio(tmp_path / name)
    info = probe(tmp_path / name)
    assert (rate, len(got)) == (48000, 2)
    assert (info.num_samples, info.sample_rate, info.channels) == (got.shape[1], 48000, 2)
    assert abs(got.shape[1] - audio.shape[1]) < 4000
    assert likeness(torch.nn.functional.pad(got, (0, 4000)), audio) > 0.99


def test_raw_g722_is_16_khz_mono(tmp_path):
    audio = tones(16000, channels=1)
    write_with_ffmpeg(tmp_path / "a.g722", audio, 16000, "g722", "g722")
    got, rate = read_audio(tmp_path / "a.g722")
    assert rate == 16000
    assert got.shape == audio.shape
    assert likeness(got, audio) > 0.98


@pytest.mark.parametrize("name", ["a.wav", "a.mkv"])
def test_a_part_is_a_slice_of_the_whole(tmp_path, name):
    audio = tones()
    if name.endswith("wav"):
        soundfile.write(tmp_path / name, audio.T, RATE, subtype="FLOAT")
    else:
        write_with_ffmpeg(tmp_path / name, audio, RATE, "pcm_s16le")
    whole, _ = read_audio(tmp_path / name)
    for start_s, duration_s in [(0.0, 0.5), (0.3, 0.25), (1.0, None), (1.4, 5.0), (0.00011, 1 / RATE)]:
        got, _ = read_audio(tmp_path / name, start_s=start_s, duration_s=duration_s)
        start = round(start_s * RATE)
        end = None if duration_s is None else start + round(duration_s * RATE)
        assert torch.equal(got, whole[:, start:end])


def test_neighbouring_parts_of_a_vorbis_file_join_up(tmp_path):
    soundfile.write(tmp_path / "a.ogg", tones().T, RATE, format="OGG", subtype="VORBIS")
    whole, _ = read_audio(tmp_path / "a.ogg")
    parts = [read_audio(tmp_path / "a.ogg", start_s=s, duration_s=0.5)[0] for s in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(torch.cat(parts, -1), whole, rtol=0, atol=1e-4)


def broken_files(folder) -> dict[str, str]:
    """File name -> what the message must contain."""
    (folder / "empty.wav").write_bytes(b"")
    (folder / "garbage.wav").write_bytes(b"no audio at all" * 100)
    (folder / "garbage.mp3").write_bytes(bytes(range(256)) * 20)
    (folder / "garbage.m4a").write_bytes(b"no audio at all" * 100)
    (folder / "folder.wav").mkdir()
    soundfile.write(folder / "no_samples.wav", np.zeros((0, 2), np.float32), RATE)
    rng = np.random.default_rng(0)
    soundfile.write(folder / "whole.flac", rng.uniform(-1, 1, (RATE, 2)), RATE)
    whole = (folder / "whole.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    with av.open(str(folder / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return {
        "missing.wav": "no such file",
        "empty.wav": "empty file",
        "garbage.wav": "cannot be decoded",
        "garbage.mp3": "cannot be decoded",
        "garbage.m4a": "cannot be decoded",
        "folder.wav": "is a folder",
        "no_samples.wav": "no audio samples",
        "truncated.flac": "truncated|cannot be decoded",
        "mute.mp4": "no audio stream",
    }


def test_broken_files_say_what_is_wrong_in_one_line(tmp_path):
    for name, message in broken_files(tmp_path).items():
        with pytest.raises(AudioError, match=message) as caught:
            read_audio(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        if name != "truncated.flac":  # its header is whole
            with pytest.raises(AudioError, match=message):
                probe(tmp_path / name)


def test_parts_that_cannot_be_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", tones().T, RATE)
    with pytest.raises(AudioError, match=r"no audio samples at 9 s"):
        read_audio(tmp_path / "a.wav", start_s=9)
    with pytest.raises(ValueError, match="start_s must be >= 0"):
        read_audio(tmp_path / "a.wav", start_s=-1)
    with pytest.raises(ValueError, match="duration_s > 0"):
        read_audio(tmp_path / "a.wav", duration_s=0)
