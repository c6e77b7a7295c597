"""Every demo runs, at tiny size, in the order a newcomer would run them."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

DEMOS = Path(__file__).resolve().parents[2] / "demos"
SPEECH = DEMOS / "fixtures" / "austen_0880.wav"
MAX_LINES = 60


def run(name: str, *arguments: Any) -> None:
    """Call the `main` of a demo."""
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMOS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def work(tiny_codec: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny codec and half a second of speech."""
    folder = tmp_path_factory.mktemp("demos")
    tiny_codec.save_pretrained(str(folder / "codec"))
    audio, sample_rate = soundfile.read(SPEECH)
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / "speech.wav", audio[8000:16000], sample_rate)
    row = {"path": "audio/speech.wav", "text": "he was not an ill disposed young man", "label": "speech"}
    (folder / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_a_demo_is_short_and_run_here() -> None:
    demos = sorted(DEMOS.glob("[0-9]*.py"))
    names = ["01_round_trip", "02_encode_a_folder", "03_train_tiny", "04_sample", "05_loss_sensitivity", "06_channel"]
    assert [demo.stem for demo in demos] == names
    for demo in demos:
        assert len(demo.read_text().splitlines()) < MAX_LINES


def test_round_trip(work: Path) -> None:
    run(
        "01_round_trip",
        work / "audio" / "speech.wav",
        "--tokenizer",
        work / "codec",
        "--steps",
        1,
        "--output",
        work / "rt",
    )
    for stream in ("latents", "tokens"):
        info = soundfile.info(work / "rt" / f"from_{stream}.wav")
        assert (info.frames, info.samplerate, info.channels) == (24000, 48000, 2)


@pytest.mark.parametrize("config", ["train/dit-tiny", "train/lm-tiny"])
def test_encode_train_and_sample(work: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("02_encode_a_folder", work / "manifest.jsonl", "--tokenizer", work / "codec", "--output", work / "latents")
    assert "1 items, 0.5 s" in capsys.readouterr().out
    output = work / config.split("/")[1]
    small = ["batch_size=2", "data.crop_s=0.17", f"data.tokenizer={work / 'codec'}", "preview_every=0"]
    run("03_train_tiny", work / "latents", "--config", config, "--steps", 2, "--output", output, *small)
    assert soundfile.info(output / "sample.wav").frames > 0
    run("04_sample", output, "--prompt", "a voice", "--seconds", 0.1, "--output", output / "out")
    assert soundfile.info(output / "out" / "0.wav").frames == 4800


def test_loss_sensitivity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--critics", 1, "--signals", 2, "--samples", 5120, "--filters", 1]
    run("05_loss_sensitivity", *small, "--output", tmp_path / "new" / "s.png")
    assert (tmp_path / "new" / "s.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("% of the sensitivity repeats every") == 2


def test_channel(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = work / "new" / "channel"
    speech = work / "audio" / "speech.wav"
    run("06_channel", speech, "--tokenizer", work / "codec", "--p", 0.1, "--seconds", 0.3, "--output", output)
    assert soundfile.info(output / "p_0.1.wav").frames == 14400
    assert "bits flipped" in capsys.readouterr().out
    assert (output / "robustness.png").read_bytes().startswith(b"\x89PNG")
