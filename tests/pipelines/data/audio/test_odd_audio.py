"""Audio files as they are found: wrong suffixes, lengths that headers do not tell, joined and truncated streams."""

import struct
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from audio_files import tones, write_with_ffmpeg

from latentune.core.errors import AudioError
from latentune.pipelines.data.audio import probe, read_audio
from latentune.pipelines.data.audio.read import AudioFile


def assert_length(path: Path, num_samples: int, sample_rate: int, tolerance: int = 0) -> torch.Tensor:
    """`probe` and `read_audio` agree on this length and rate."""
    info = probe(path)
    audio, rate = read_audio(path)
    assert (info.num_samples, info.sample_rate, info.channels) == (audio.shape[1], rate, len(audio))
    assert rate == sample_rate
    assert abs(audio.shape[1] - num_samples) <= tolerance
    return audio


def loudest_hz(audio: torch.Tensor, rate: int) -> float:
    return float(torch.fft.rfft(audio[0]).abs().argmax()) * rate / audio.shape[1]


@pytest.mark.parametrize(
    ("name", "codec", "format", "num_samples"),
    [
        ("a.mp3", "aac", "ipod", 73000),
        ("a.opus", "libopus", "webm", 72000),
        ("a.ogg", "flac", "flac", 72000),
        ("a.mp4", "pcm_s16le", "matroska", 72000),
        ("a.m4a", "pcm_s16le", "wav", 72000),
        ("a.g722", "pcm_s16le", "wav", 72000),
    ],
)
def test_the_content_decides_and_not_the_suffix(tmp_path, name, codec, format, num_samples):
    audio = tones(48000)
    write_with_ffmpeg(tmp_path / name, audio, 48000, codec, format)
    got = assert_length(tmp_path / name, num_samples, 48000, tolerance=1024)
    assert loudest_hz(got[:, 4000:-4000], 48000) == pytest.approx(440, abs=1)


def test_a_reason_names_both_decoders(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio at all" * 100)
    with pytest.raises(AudioError, match=r"a\.wav: cannot be decoded \(libsndfile: .+; FFmpeg: .+\)"):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize("total", [0, 2**36 - 1, 10**9])
def test_flac_whose_header_tells_no_length(tmp_path, total):
    audio = tones(channels=1)
    soundfile.write(tmp_path / "a.flac", audio.T, 16000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    (facts,) = struct.unpack_from(">Q", data, 18)
    struct.pack_into(">Q", data, 18, facts >> 36 << 36 | total)
    (tmp_path / "a.flac").write_bytes(data)
    got = assert_length(tmp_path / "a.flac", audio.shape[1], 16000)
    np.testing.assert_allclose(got, audio, atol=4e-5)


@pytest.mark.parametrize(
    ("riff_bytes", "data_bytes"),
    [(0, 0), (36, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0x80000024, 0x80000000)],
)
def test_wav_that_was_written_into_a_pipe_is_read_whole(tmp_path, riff_bytes, data_bytes):
    audio = tones(channels=1)
    soundfile.write(tmp_path / "a.wav", audio.T, 16000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    struct.pack_into("<I", data, 4, riff_bytes)
    struct.pack_into("<I", data, 40, data_bytes)
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(assert_length(tmp_path / "a.wav", audio.shape[1], 16000), audio, atol=4e-5)


@pytest.mark.parametrize("container", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"])
def test_what_libsndfile_writes_is_not_taken_for_truncated(tmp_path, container):
    audio = tones()
    soundfile.write(tmp_path / "a", audio.T, 16000, format=container, subtype="PCM_16")
    assert_length(tmp_path / "a", audio.shape[1], 16000)
    with open(tmp_path / "a", "ab") as file:
        file.write(b"more chunks, or junk")
    if container not in ("FLAC", "W64"):  # libsndfile takes the rest of a W64 file for audio
        assert_length(tmp_path / "a", audio.shape[1], 16000)


def test_mp3_without_a_count_is_counted(tmp_path):
    rng = np.random.default_rng(0)
    loud_then_silent = np.concatenate([0.3 * rng.standard_normal(44100), np.zeros(5 * 44100)])[None].astype("f4")
    for name, audio, mode in (("cbr", tones(44100, 6.0, 1), {}), ("vbr", loud_then_silent, {"q": "4"})):
        path = tmp_path / f"{name}.mp3"
        write_with_ffmpeg(path, audio, 44100, "libmp3lame", write_xing="0", id3v2_version="0", **mode)
        with av.open(str(path)) as container:
            frames = sum(1 for packet in container.demux(audio=0) if packet.size)
        assert_length(path, 1152 * frames, 44100)
        art = b"ID3\x03\0\0" + bytes([0, 0, 40, 0]) + bytes(40 << 7)
        (tmp_path / "art.mp3").write_bytes(art + path.read_bytes())
        assert_length(tmp_path / "art.mp3", 1152 * frames, 44100)


def test_mp3_files_that_were_joined_are_read_to_the_end(tmp_path):
    write_with_ffmpeg(tmp_path / "one.mp3", tones(48000, 1.0, 1), 48000, "libmp3lame")
    one = (tmp_path / "one.mp3").read_bytes()
    assert_length(tmp_path / "one.mp3", 48000, 48000, tolerance=1152)
    (tmp_path / "two.mp3").write_bytes(one + one)
    audio = assert_length(tmp_path / "two.mp3", 96000, 48000, tolerance=2304)
    assert loudest_hz(audio[:, 52000:90000], 48000) == pytest.approx(440, abs=2)
    (tmp_path / "half.mp3").write_bytes(one[: len(one) // 2])
    with pytest.raises(AudioError, match="truncated"):
        probe(tmp_path / "half.mp3")


@pytest.mark.parametrize(("kind", "rate"), [("VORBIS", 16000), ("OPUS", 48000)])
def test_chained_ogg_is_read_to_the_end(tmp_path, kind, rate):
    links = []
    for hz in (440, 880):
        soundfile.write(tmp_path / "link", tones(rate, 1.0, 1, hz).T, rate, format="OGG", subtype=kind)
        links.append((tmp_path / "link").read_bytes())
    (tmp_path / "a.ogg").write_bytes(b"".join(links))
    audio = assert_length(tmp_path / "a.ogg", 2 * rate, rate)
    assert loudest_hz(audio[:, :rate], rate) == pytest.approx(440, abs=2)
    assert loudest_hz(audio[:, rate:], rate) == pytest.approx(880, abs=2)
    for start_s, end_s in pairwise((0.0, 0.4, 1.3, 2.0)):
        part, _ = read_audio(tmp_path / "a.ogg", start_s=start_s, duration_s=end_s - start_s)
        torch.testing.assert_close(part, audio[:, round(start_s * rate) : round(end_s * rate)], rtol=0, atol=1e-3)


def test_chained_ogg_of_two_rates_is_refused(tmp_path):
    data = b""
    for rate in (16000, 24000):
        soundfile.write(tmp_path / "link", tones(rate, 0.5, 1).T, rate, format="OGG", subtype="VORBIS")
        data += (tmp_path / "link").read_bytes()
    (tmp_path / "a.ogg").write_bytes(data)
    with pytest.raises(AudioError, match="stream 2 has 24000 Hz and 1 channels, the first 16000 Hz"):
        probe(tmp_path / "a.ogg")


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.wav", "pcm_s16le", {}),
        ("a.aiff", "pcm_s16be", {}),
        ("a.au", "pcm_s16be", {}),
        ("a.caf", "pcm_s16le", {}),
        ("a.w64", "pcm_s16le", {}),
        ("a.opus", "libopus", {}),
        ("a.mp3", "libmp3lame", {}),
        ("a.webm", "libopus", {}),
        ("a.m4a", "aac", {"movflags": "faststart"}),
    ],
)
def test_files_that_were_cut_off_are_refused(tmp_path, name, codec, options):
    write_with_ffmpeg(tmp_path / name, tones(48000, 2.0), 48000, codec, **options)
    assert_length(tmp_path / name, 96000, 48000, tolerance=2400)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 6 // 10])
    for use in (probe, read_audio):
        with pytest.raises(AudioError, match=f"{name}: truncated"):
            use(tmp_path / name)


def test_a_change_of_the_rate_within_a_stream_is_resampled(tmp_path):
    data = b""
    for rate in (48000, 24000):
        write_with_ffmpeg(tmp_path / "part.aac", tones(rate, 1.0, 1), rate, "aac", "adts")
        data += (tmp_path / "part.aac").read_bytes()
    (tmp_path / "a.aac").write_bytes(data)
    audio = assert_length(tmp_path / "a.aac", 96000, 48000, tolerance=5000)
    for part in (audio[:, 4000:44000], audio[:, 54000:94000]):
        assert loudest_hz(part, 48000) == pytest.approx(440, abs=2)


def test_a_change_of_the_channels_within_a_stream_is_refused(tmp_path):
    data = b""
    for channels in (1, 2):
        write_with_ffmpeg(tmp_path / "part.aac", tones(48000, 0.5, channels), 48000, "aac", "adts")
        data += (tmp_path / "part.aac").read_bytes()
    (tmp_path / "a.aac").write_bytes(data)
    with pytest.raises(AudioError, match="changes from 1 to 2 channels"):
        read_audio(tmp_path / "a.aac")


def test_the_default_stream_is_taken(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        streams[0].disposition = av.stream.Disposition.comment
        streams[1].disposition = av.stream.Disposition.default
        for stream, hz in zip(streams, (880, 440), strict=True):
            samples = (tones(16000, 1.0, 1, hz) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    assert loudest_hz(assert_length(tmp_path / "a.mkv", 16000, 16000), 16000) == pytest.approx(440, abs=2)


def test_audio_without_a_decoder_is_refused_as_any_other(tmp_path):
    write_with_ffmpeg(tmp_path / "a.m4a", tones(48000), 48000, "aac")
    (tmp_path / "a.m4a").write_bytes(
        (tmp_path / "a.m4a").read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"free")
    )
    for use in (probe, read_audio):
        with pytest.raises(AudioError, match=r"a\.m4a: .*[Dd]ecoder"):
            use(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
    ],
)
def test_playlists_are_not_opened(tmp_path, text):
    soundfile.write(tmp_path / "secret.wav", tones().T, 16000)
    (tmp_path / "list.mp3").write_text(text)
    with pytest.raises(AudioError, match=r"list\.mp3: cannot be decoded"):
        read_audio(tmp_path / "list.mp3")


@pytest.mark.parametrize(("name", "reason"), [("a" * 300 + ".wav", "name too long"), ("a\0.wav", "null")])
def test_names_that_no_file_can_have(tmp_path, name, reason):
    with pytest.raises(AudioError, match=f"(?i)cannot be opened .*{reason}"):
        probe(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.mkv"])
def test_an_open_file_gives_its_parts_in_any_order(tmp_path, name):
    audio = tones(16000, 3.0)
    write_with_ffmpeg(tmp_path / name, audio, 16000, "pcm_s16le")
    with AudioFile(tmp_path / name) as file:
        assert file.seekable == (name == "a.wav")
        assert file.info().num_samples == 48000
        for start_s in (0.5, 1.0, 1.5, 2.5, 0.25):
            got, _ = file.read(start_s=start_s, duration_s=0.5)
            start = round(16000 * start_s)
            np.testing.assert_allclose(got, audio[:, start : start + 8000], atol=4e-5)
        with pytest.raises(AudioError, match="no audio samples at 9 s"):
            file.read(start_s=9.0)
