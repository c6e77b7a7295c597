"""Damaged manifests and configs are read or refused with a reason; a bad row is one failure."""

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from command_line import call
from mutations import damaged, damaged_text

from latentune.core.errors import AudioError, LatentuneError
from latentune.core.settings import load_settings
from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.train import train_config

MANIFEST_COPIES, CONFIG_COPIES = 29, 35  # of each file
CONFIGS = ("codicodec-tiny", "dit-tiny", "lm-tiny", "melcodec-speech", "taae-tiny", "neucodec-tiny", "dit-small")
ROWS = [{"path": f"{n}.wav", "text": f"text, {n}", "label": "ab"[n % 2], "start": 0.1, "end": 0.2} for n in range(4)]


def manifest(kind: str) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if kind == "json":
        return json.dumps(ROWS, indent=1).encode()
    mark = "," if kind == "csv" else "\t"
    lines = [mark.join(ROWS[0]), *(mark.join(str(v).replace(",", "") for v in row.values()) for row in ROWS)]
    return ("\n".join(lines) + "\n").encode()


def use(path: Path) -> None:
    """Finds and reads all audio of a manifest."""
    try:
        items = find_audio(path)
    except (LatentuneError, ValueError) as error:
        assert str(path) in str(error)  # noqa: PT017 - some copies are refused, others are read
        return
    for item in items:
        try:
            item.probe()
            item.read()
        except AudioError:
            continue


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_damaged_manifests(kind: str, tmp_path: Path) -> None:
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.full(4000, 0.1), 8000)
    path = tmp_path / f"manifest.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    whole = path.read_bytes() if kind == "parquet" else manifest(kind)
    for number in range(MANIFEST_COPIES):
        content = damaged(whole, number) if kind == "parquet" else damaged_text(whole.decode(), number)
        path.write_bytes(content)
        use(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_damaged_configs(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config.yaml"
    found = next((Path(__file__).parents[3] / "configs").rglob(f"train/{name}.yaml"), None)
    if found is None:
        pytest.skip(f"there is no config {name}")
    whole = found.read_text(encoding="utf-8")
    for number in range(CONFIG_COPIES):
        path.write_bytes(damaged_text(whole, number))
        with caplog.at_level(logging.CRITICAL):
            try:
                train_config(load_settings(str(path), ["data.source=nowhere", f"output={tmp_path / 'run'}"]))
            except (LatentuneError, ValueError):
                continue


@pytest.mark.slow
def test_a_damaged_config_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    whole = (Path(__file__).parents[3] / "configs" / "train" / "dit-tiny.yaml").read_text(encoding="utf-8")
    for number in range(12):
        path.write_bytes(damaged_text(whole, number))
        result = call("train", path, "data.source=nowhere", f"output={tmp_path / 'run'}", code=1)
        assert result.stderr.startswith("error: ")
        assert "unexpected" not in result.stderr
