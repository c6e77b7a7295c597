"""Reading the items of a shard: files that can only be decoded forward are decoded once, also by several threads."""

import numpy as np
import pytest
from audio_files import tones, write_with_ffmpeg

from latentune.core.read_ahead import read_ahead
from latentune.pipelines.data.audio.concerns import Concerns
from latentune.pipelines.data.audio.ffmpeg_reader import FFmpegReader
from latentune.pipelines.data.shards.plan import PlannedItem
from latentune.pipelines.data.shards.source_files import SourceFiles

RATE = 16000


def items(*parts):
    return [
        PlannedItem(
            shard=0, id=f"{name}#{n}", path=name, start_s=start_s, duration_s=0.5, total_s=4, sample_rate=RATE, part=n
        )
        for n, (name, start_s) in enumerate(parts)
    ]


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_every_part_is_right_and_a_file_is_decoded_once(tmp_path, monkeypatch, order, num_threads):
    audio = {"a.mkv": tones(RATE, 4.0), "b.wav": tones(RATE, 4.0, hz=660)}
    for name, wave in audio.items():
        write_with_ffmpeg(tmp_path / name, wave, RATE, "pcm_s16le")
    decoded = []
    restart = FFmpegReader._restart
    monkeypatch.setattr(FFmpegReader, "_restart", lambda self: (decoded.append(self._path.name), restart(self)))
    starts = [0.5 * n for n in range(8)]
    planned = items(*((name, s) for s in (starts if order == "forward" else starts[::-1]) for name in audio))
    files = SourceFiles(planned, tmp_path, Concerns())
    for item, (got, rate) in zip(
        planned, read_ahead(files.read, planned, num_threads=num_threads, num_ahead=5), strict=True
    ):
        start = round(item.start_s * RATE)
        assert rate == RATE
        np.testing.assert_allclose(got, audio[item.path][:, start : start + RATE // 2], atol=4e-5)
    files.close()
    assert decoded == ["a.mkv"]


def test_an_item_that_fails_does_not_hold_up_the_others(tmp_path):
    write_with_ffmpeg(tmp_path / "a.mkv", tones(RATE, 1.0), RATE, "pcm_s16le")
    planned = items(("a.mkv", 0.0), ("a.mkv", 3.0), ("a.mkv", 3.5), ("gone.mkv", 0.0), ("gone.mkv", 0.5))
    files = SourceFiles(planned, tmp_path, Concerns())

    def try_read(item):
        try:
            return files.read(item)[0].shape[1]
        except Exception as error:
            return str(error).partition(": ")[2]

    found = list(read_ahead(try_read, planned, num_threads=3, num_ahead=5))
    assert found[0] == RATE // 2
    assert found[1:] == ["holds no audio samples at 3 s", "holds no audio samples at 3.5 s", *["no such file"] * 2]
    files.close()
