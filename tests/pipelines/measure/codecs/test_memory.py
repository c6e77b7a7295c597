"""Peak memory of a codec against the length of the audio."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from codec_runs import config

from latentune.core.errors import ConfigError, EngineError
from latentune.pipelines.measure.codecs import memory
from latentune.pipelines.measure.codecs.run import run_experiment

MIB = 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak starts again on Linux alone")
def test_whole_decoding_grows_with_the_length_and_decoding_in_pieces_does_not(
    folder: Path, tmp_path: Path, tiny_melcodec: Any
) -> None:
    tiny_melcodec.save_pretrained(tmp_path / "codec")
    settings = config(folder, tmp_path, tokenizer=str(tmp_path / "codec"), lengths_s=(900.0, 60.0))
    table = run_experiment("memory", settings).table
    assert list(table.systems) == [f"{one}, {s} s" for one in memory.OPERATIONS for s in (60, 900)]
    with open(tmp_path / "memory.csv") as file:
        rows = {(row["operation"], float(row["seconds"])): row for row in csv.DictReader(file)}
    growth = {
        one: float(rows[one, 900.0]["working_mib"]) - float(rows[one, 60.0]["working_mib"]) for one in memory.OPERATIONS
    }
    spec = tiny_melcodec.spec
    added = 840 * spec.sample_rate * spec.channels * 4 / MIB
    assert float(rows["decode", 900.0]["audio_mib"]) == pytest.approx(added * 900 / 840, rel=1e-4)
    assert growth["decode in pieces"] < added < growth["decode"], growth
    assert all(float(row["working_mib"]) < float(row["peak_mib"]) for row in rows.values())
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_a_length_that_does_not_fit_has_a_reason_in_place_of_a_value(
    folder: Path, tiny_melcodec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(setup: Any, task: memory.Task) -> memory.Peak:
        if task.seconds > 1:
            raise EngineError("a worker process was killed")
        return memory.Peak(peak_bytes=3 * MIB, start_bytes=MIB, reset=False, settings=None)

    monkeypatch.setattr(memory, "_in_a_process", measured)
    table = run_experiment("memory", config(folder, lengths_s=(1.0, 2.0)), tiny_melcodec).table
    assert table.estimate("encode, 1 s", "working_mib").value == 2
    assert table.estimate("encode, 2 s", "peak_mib").value is None
    assert any("encode, 2 s" in line and "was killed" in line for line in table.warnings)
    assert any("encode, 1 s" in line and "loading the weights" in line for line in table.warnings)
    with pytest.raises(EngineError, match="was killed"):
        run_experiment("memory", config(folder, lengths_s=(2.0,)), tiny_melcodec)


def test_what_cannot_be_measured_is_refused(folder: Path, tmp_path: Path, tiny_melcodec: Any, tiny_codec: Any) -> None:
    with pytest.raises(ConfigError, match=r"lengths_s must be one or more numbers above 0, got \[0\.0\]"):
        config(folder, lengths_s=(0.0,))
    tiny_codec.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match="another codec than the one that was given"):
        run_experiment("memory", config(folder, tokenizer=str(tmp_path / "other"), lengths_s=(0.1,)), tiny_melcodec)
