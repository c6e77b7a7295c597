"""The recipe of captions on recordings that are made here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import latentune

RECIPES = Path(__file__).parents[2] / "demos" / "recipes"
RATE = 22_050


def write_manifest(folder: Path) -> Path:
    """A tone, which is heard, and silence with the same metadata."""
    tone = 0.1 * torch.sin(torch.arange(2 * RATE) * 0.3)[None]
    rows = []
    for name, audio in (("tone", tone), ("silence", torch.zeros_like(tone))):
        latentune.write_audio(folder / f"{name}.wav", audio, RATE)
        facts = {"kind": "music", "package": "trackballs-data", "licence": "none", "split": "train", "seconds": 2.0}
        rows.append(json.dumps({"path": f"{name}.wav", **facts}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RECIPES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The captions of the manifest, next to its recordings, and what was logged."""
    folder = tmp_path_factory.mktemp("captions")
    keys = ("--kind", "music", "--part-s", 2)
    made = run("captions.py", write_manifest(folder), folder / "captions.jsonl", *keys)
    assert made.returncode == 0, made.stderr
    return folder / "captions.jsonl", made.stderr


def rows_of(captions: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captions.read_text(encoding="utf-8").splitlines()]


def test_silent_recordings_get_no_caption_and_are_named(captions: tuple[Path, str]) -> None:
    path, log = captions
    assert [Path(row["path"]).name for row in rows_of(path)] == ["tone.wav"]
    assert "1 of them are silent and left out" in log
    assert "silence.wav" in log


def test_clips_of_captions_are_what_the_codec_decodes(captions: tuple[Path, str], tmp_path: Path) -> None:
    made = run("caption_clips.py", captions[0], tmp_path / "clips", "--num", 1, "--seconds", 1)
    assert made.returncode == 0, made.stderr
    [row] = rows_of(captions[0])
    assert (tmp_path / "clips" / "prompts.txt").read_text(encoding="utf-8").strip() in row["text"]
    clip, rate = latentune.read_audio(tmp_path / "clips" / "000.wav")
    codec = latentune.load_tokenizer("melcodec-music")
    tone, tone_rate = latentune.read_audio(captions[0].parent / "tone.wav", start_s=1.0, duration_s=1.0)
    decoded = codec.decode_encoded(codec.encode(tone[None], tone_rate), "latents")[0]
    assert rate == codec.spec.sample_rate
    assert decoded.abs().max() > 0.01
    torch.testing.assert_close(clip, decoded, atol=2**-14, rtol=0.0)


def test_more_clips_than_recordings_are_refused(captions: tuple[Path, str], tmp_path: Path) -> None:
    made = run("caption_clips.py", captions[0], tmp_path / "clips", "--num", 2)
    assert made.returncode == 2
    assert "has 1 recordings, 2 are asked for" in made.stderr
    assert not (tmp_path / "clips").exists()
