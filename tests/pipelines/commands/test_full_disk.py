"""Commands whose output cannot be written: one line that names the path, the reason, and how to continue.

A limit on the size of files stands for a full disk: the system refuses in the same call, whichever library writes.
"""

import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import call

from latentune.pipelines import evaluate
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.measure.results import ResultsTable
from latentune.tokenizers.codicodec import CoDiCodec

RATE = 48000
RESUMED = "then run the same command again to resume"
AGAIN = "then run the same command again; it starts from the beginning"


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused(num_bytes: int, *arguments: object) -> str:
    """The last line that a command prints if no file may be larger."""
    with largest_file(num_bytes):
        return call(*arguments, code=1).stderr.splitlines()[-1]


def check(line: str, name: str, hint: str) -> None:
    assert re.fullmatch(rf"error: cannot write \S*{name} \(File too large\): choose another output.*; {hint}", line)


@pytest.mark.parametrize(
    ("seconds", "num_bytes", "name"),
    [(3.0, 5000, "shards/00000.safetensors"), (0.25, 4100, "index.parquet")],
)
def test_encode(seconds: float, num_bytes: int, name: str, codec_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (round(seconds * RATE), 2))
    soundfile.write(tmp_path / "audio" / "0.wav", noise, RATE)
    arguments = ("encode", tmp_path / "audio", "--tokenizer", codec_folder)
    check(refused(num_bytes, *arguments, tmp_path / "out"), name, RESUMED)
    assert not list(tmp_path.rglob("*.part*"))
    call(*arguments, tmp_path / "out")
    call(*arguments, tmp_path / "whole")
    for path in (tmp_path / "whole").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_decode(dataset: Path, codec_folder: Path, tmp_path: Path) -> None:
    line = refused(5000, "decode", dataset, tmp_path / "out", "--tokenizer", codec_folder)
    check(line, "0_0.wav", AGAIN)


def test_sample(pipe: GenerationPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    check(refused(5000, "sample", tmp_path / "pipe", tmp_path / "out", "--seconds", 1), "000_sample.wav", AGAIN)


def test_edit(pipe: GenerationPipeline, audio: Path, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    source = audio / "0.wav"
    line = refused(5000, "edit", source, tmp_path / "out.wav", "--pipeline", tmp_path / "pipe", "--replace", "0.1:0.2")
    check(line, "out.wav", AGAIN)


def test_train(audio: Path, tmp_path: Path) -> None:
    keys = [f"data.source={audio / '0.wav'}", f"output={tmp_path / 'run'}", "steps=1"]
    line = refused(20_000, "train", "train/codicodec-tiny", *keys)
    check(line, "checkpoints/00000001/model", f"{RESUMED} from the last checkpoint")


def test_convert(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec_folder: Path) -> None:
    codec = CoDiCodec.from_pretrained(codec_folder)
    monkeypatch.setattr("latentune.tokenizers.load.load_official", lambda *arguments, **options: codec)
    check(refused(5000, "convert", "codicodec", tmp_path / "out"), "out", AGAIN)
    assert list(tmp_path.iterdir()) == []


def test_the_figures_of_evaluate_are_kept(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is the audio itself, so that its distance is 0. The output becomes a folder during the work."""

    def check_and_spoil(table: ResultsTable) -> None:
        check_table(table)
        (tmp_path / "out" / "figures.json").mkdir(parents=True)

    check_table = evaluate._check
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(evaluate, "_check", check_and_spoil)
    line = call("evaluate", audio, audio, "-o", tmp_path / "out" / "figures.json", code=1).stderr.splitlines()[-1]
    assert "cannot write" in line
    assert "the results are in" in line
    (kept,) = (tmp_path / "temporary").rglob("evaluation.json")
    assert str(kept) in line
    assert json.loads(kept.read_text())["value"] < 1e-3


def test_the_figures_of_codecs_are_kept(
    audio: Path, codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "out" / "reconstruction.json").mkdir(parents=True)
    arguments = ("experiment", "reconstruction", audio, tmp_path / "out", "--tokenizer", codec_folder)
    line = call(*arguments, code=1).stderr.splitlines()[-1]
    (kept,) = (tmp_path / "temporary").rglob("reconstruction.json")
    assert str(kept) in line
    assert json.loads(kept.read_text())["systems"]
