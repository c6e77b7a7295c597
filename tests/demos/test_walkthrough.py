"""The demo at tiny size: every stage runs, and the report shows it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from latentune.core.config import build_config
from latentune.core.errors import ConfigError, MissingPackageError
from latentune.core.settings import load_settings
from latentune.demos.walkthrough import STATE, DemoConfig, DemoResult, find_fixtures, run_demo
from latentune.generators.base import TokenizerBinding
from latentune.generators.load import generator_class
from latentune.pipelines.generation.pipeline import GenerationPipeline


@pytest.fixture(scope="module")
def parts(tiny_codec: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny codec and generators as folders, and one second of each fixture that is speech."""
    folder = tmp_path_factory.mktemp("demo_parts")
    tiny_codec.save_pretrained(str(folder / "codec"))
    width = tiny_codec.spec.latent_dim
    binding = TokenizerBinding(
        spec=tiny_codec.spec,
        fingerprint=tiny_codec.fingerprint(),
        latent_mean=(0.0,) * width,
        latent_std=(1.0,) * width,
    )
    for name in ("dit-tiny", "lm-tiny"):
        values = load_settings(f"generators/{name}")
        cls = generator_class(values["class_name"])
        torch.manual_seed(0)
        generator = cls(build_config(cls.config_class, {**values["config"], "binding": binding})).eval()
        GenerationPipeline(tiny_codec, generator).save_pretrained(folder / name)
    rows = []
    for name in ("austen_0880", "austen_0930"):
        audio, sample_rate = soundfile.read(find_fixtures().parent / f"{name}.wav")
        soundfile.write(folder / f"{name}.wav", audio[8000:20000], sample_rate)
        rows.append({"path": f"{name}.wav", "text": "<b>a voice</b>", "label": "speech"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "audio": str(folder / "manifest.jsonl"),
        "tokenizer": str(folder / "codec"),
        "generators": [str(folder / "dit-tiny"), str(folder / "lm-tiny")],
        "overrides": ["batch_size=2", "data.crop_s=0.17"],
        "prompts": ["one", "two"],
        "train_steps": 2,
        "seconds": 0.3,
        "decode_options": {"steps": 1},
    }


def demo(output: Path, progress: Any = None, **settings: Any) -> DemoResult:
    return run_demo(build_config(DemoConfig, {"output": str(output), **settings}), progress=progress)


def test_the_demo_runs_from_audio_to_report(parts: dict[str, Any], tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "out").mkdir()
    result = demo(tmp_path / "out", progress=lines.append, **parts)
    assert len(lines) == len(result.stages_s) == 8
    assert set(result.training) == {"train/dit-tiny", "train/lm-tiny"}
    assert all(run["curve"][-1][0] == 2 for run in result.training.values())
    assert {row["system"] for row in result.reconstruction} == {
        "latents, steps=1",
        "tokens, steps=1",
        "silence",
        "untrained",
    }
    assert {row["set"] for row in result.distances} == {
        "decoded/latents",
        "decoded/tokens",
        "samples/dit-tiny",
        "samples/lm-tiny",
    }
    assert {row["metric"] for row in result.distances} == {"fad_musicnn"}
    assert all("fewer than twice the 200 dimensions" in row["notes"][0] for row in result.distances)
    state = json.loads((tmp_path / "out" / STATE).read_text())
    assert state["finished"] is True
    page = Path(result.report).read_text()
    players = 2 * 2 + 2 * 3  # two prompts for each generator; original, latents and tokens of each file
    assert page.count("<audio") == players
    assert "&lt;b&gt;a voice" in page
    assert "<b>a voice" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_samples_that_are_too_few_for_a_distance_do_not_end_the_demo(parts: dict[str, Any], tmp_path: Path) -> None:
    few = {**parts, "prompts": ["one"], "generators": parts["generators"][:1], "train_configs": []}
    result = demo(tmp_path, **few)
    assert {row["set"] for row in result.distances} == {"decoded/latents", "decoded/tokens"}
    assert [line for line in result.warnings if line.startswith("no distance of samples/dit-tiny: ")]
    assert "no distance of samples/dit-tiny" in Path(result.report).read_text()


@pytest.mark.slow
def test_the_demo_runs_again_over_itself_to_the_same_figures(parts: dict[str, Any], tmp_path: Path) -> None:
    first, again = (demo(tmp_path, **parts) for _ in range(2))
    assert again.reconstruction == first.reconstruction
    assert again.distances == first.distances
    assert again.samples == first.samples


def test_a_folder_with_other_files_is_left_alone(parts: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="choose a new folder"):
        demo(tmp_path, **parts)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_bad_settings_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'train_steps'"):
        demo(tmp_path / "out", train_step=3)
    with pytest.raises(ConfigError, match="seconds must be a positive number"):
        demo(tmp_path / "out", seconds=0.0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        demo(tmp_path / "out", audio=str(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()


def test_the_defaults_name_what_ships() -> None:
    from latentune.pipelines.generation.load import SHIPPED, shipped_pipelines
    from latentune.tokenizers.cards import SHIPPED_CARDS as TOKENIZERS
    from latentune.tokenizers.load import load_tokenizer

    config = DemoConfig()
    assert config.tokenizer in TOKENIZERS
    assert set(shipped_pipelines(load_tokenizer(config.tokenizer))) == {n for n in SHIPPED if config.tokenizer in n}
    assert find_fixtures().is_file()


def test_without_the_packages_of_its_report_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"the demo's report needs matplotlib: .*pip install 'matplotlib>="):
        run_demo(DemoConfig(output=str(tmp_path / "demo")))
    assert not (tmp_path / "demo").exists()
