"""The demo at tiny size: every stage runs, and the report shows it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from latentune.core.config import build_config
from latentune.core.errors import ConfigError, LatentuneError, MissingPackageError
from latentune.core.settings import load_settings
from latentune.demos.walkthrough import STATE, DemoConfig, DemoResult, run_demo
from latentune.demos.walkthrough_codecs import CODECS
from latentune.demos.walkthrough_codecs import TOKENIZERS as DEFAULT_TOKENIZERS
from latentune.demos.walkthrough_generation import CAPTIONS, EDITS, SPEECH, STREAM, TRAINED
from latentune.generators.base import TokenizerBinding
from latentune.generators.diffusion import DiffusionTransformer
from latentune.generators.load import generator_class
from latentune.pipelines.data.audio.fixtures import find_fixtures
from latentune.pipelines.generation.pipeline import AudioOutput, GenerationPipeline


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
        "tokenizers": [str(folder / "codec")],
        "generators": [str(folder / "dit-tiny"), str(folder / "lm-tiny")],
        "train_configs": ["train/dit-tiny", "train/lm-tiny"],
        "overrides": ["batch_size=2", "data.crop_s=0.17"],
        "prompts": ["one", "two"],
        "train_steps": 2,
        "seconds": 0.3,
        "decode_options": {"steps": 1},
    }


def demo(output: Path, progress: Any = None, **settings: Any) -> DemoResult:
    return run_demo(build_config(DemoConfig, {"output": str(output), **settings}), progress=progress)


def captions(result: DemoResult, section: str) -> list[str]:
    return [one.caption for one in result.exhibits if one.section == section]


def test_the_demo_runs_from_audio_to_report(parts: dict[str, Any], tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "out").mkdir()
    result = demo(tmp_path / "out", progress=lines.append, **parts)
    assert len(lines) == len(result.stages_s) == 1 + 2 + 3 + 2 * 2 + 1
    assert set(result.training) == {"train/dit-tiny", "train/lm-tiny"}
    assert all(run["curve"][-1][0] == 2 for run in result.training.values())
    assert captions(result, CODECS) == ["codec: austen_0880.wav", "codec: austen_0930.wav"]
    assert captions(result, CAPTIONS) == ["dit-tiny", "lm-tiny"]
    assert len(captions(result, EDITS)) == 2
    assert captions(result, TRAINED) == ["train/dit-tiny after 2 steps", "train/lm-tiny after 2 steps"]
    assert [(row["codec"], row["stream"], row["files"]) for row in result.reconstruction] == [
        ("codec", "latents", 2),
        ("codec", "tokens", 2),
    ]
    for row in result.reconstruction:
        assert 0 < row["mel_distance"] < 20
        assert 0 < row["mel_distance_of_silence"] < 20
    state = json.loads((tmp_path / "out" / STATE).read_text())
    assert state["finished"] is True
    assert len(state["exhibits"]) == len(result.exhibits)
    page = Path(result.report).read_text()
    assert page.count("<audio") == sum(len(one.clips) for one in result.exhibits)
    assert "&lt;b&gt;a voice" in page
    assert "<b>a voice" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    order = [page.index(f">{section}</h2>") for section in (CODECS, CAPTIONS, EDITS, STREAM, TRAINED, "Figures")]
    assert order == sorted(order), "what sounds best comes first"


def test_every_clip_is_a_recording_of_the_length_that_was_asked_for(parts: dict[str, Any], tmp_path: Path) -> None:
    result = demo(tmp_path, **{**parts, "train_configs": []})
    lengths = {}
    for one in result.exhibits:
        for clip in one.clips:
            audio, rate = soundfile.read(tmp_path / clip.file)
            lengths[one.section, clip.label] = len(audio) / rate
            assert all(0 <= start < end <= len(audio) / rate + 0.01 for start, end in clip.marks)
            assert bool(clip.marks) == (clip.label in ("with a new middle", "continued", "streamed"))
    assert lengths[CAPTIONS, "one"] == pytest.approx(0.3, abs=1e-3)
    assert lengths[STREAM, "streamed"] == pytest.approx(0.6, abs=1e-3)
    assert lengths[EDITS, "with a new middle"] == pytest.approx(0.75, abs=1e-3)
    assert lengths[EDITS, "continued"] == pytest.approx(0.75 / 2 + 0.3, abs=1e-3)


def test_what_no_generator_can_do_is_said_in_one_line(parts: dict[str, Any], tmp_path: Path) -> None:
    alone = {**parts, "prompts": ["one"], "generators": parts["generators"][:1], "train_configs": []}
    result = demo(tmp_path, **alone)
    assert captions(result, STREAM) == []
    [warning] = result.warnings
    assert warning.startswith("no stream: dit-tiny: this generator denoises all frames of an item together")
    page = Path(result.report).read_text()
    assert "1 part was left out" in page
    assert page.count('<details class="warning">') == 1
    assert f">{STREAM}</h2>" not in page


def test_a_pipeline_that_speaks_gets_a_section_of_its_own(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(pipeline: GenerationPipeline, text: str, *, generator: torch.Generator, **options: Any) -> AudioOutput:
        return pipeline("", duration_s=0.1 * len(text), generator=generator, **options)

    is_dit = property(lambda pipeline: isinstance(pipeline.generator, DiffusionTransformer))
    monkeypatch.setattr(GenerationPipeline, "can_speak", is_dit)
    monkeypatch.setattr(GenerationPipeline, "say", say, raising=False)
    result = demo(tmp_path, **{**parts, "train_configs": [], "texts": ["Hello", "Hello you"]})
    [spoken] = [one for one in result.exhibits if one.section == SPEECH]
    assert [clip.label for clip in spoken.clips] == ["Hello", "Hello you"]
    assert [round(soundfile.info(tmp_path / clip.file).duration, 1) for clip in spoken.clips] == [0.5, 0.9]
    assert captions(result, CAPTIONS) == ["lm-tiny"], "prompts are for the others"


@pytest.mark.slow
def test_the_demo_runs_again_over_itself_to_the_same_figures(parts: dict[str, Any], tmp_path: Path) -> None:
    first, again = (demo(tmp_path, **parts) for _ in range(2))
    assert again.reconstruction == first.reconstruction
    assert again.exhibits == first.exhibits
    assert again.training["train/dit-tiny"]["curve"] == first.training["train/dit-tiny"]["curve"]


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
    with pytest.raises(ConfigError, match="prompts is empty"):
        demo(tmp_path / "out", prompts=[])
    with pytest.raises(ConfigError, match="two tokenizers or generators have the same name: x, x"):
        demo(tmp_path / "out", tokenizers=["a/x", "b/x"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        demo(tmp_path / "out", audio=str(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked", [{"tokenizers": ["nope"]}, {"generators": ["nope"]}, {"train_configs": ["nope"]}])
def test_a_wrong_name_leaves_no_state(parts: dict[str, Any], tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(LatentuneError, match="nope"):
        demo(tmp_path / "out", **{**parts, **asked})
    assert not (tmp_path / "out").exists()


def test_the_defaults_name_what_ships() -> None:
    from latentune.pipelines.data.cards import PIPELINE_CARDS
    from latentune.pipelines.generation.load import shipped_pipelines
    from latentune.tokenizers.cards import SHIPPED_CARDS as TOKENIZERS
    from latentune.tokenizers.load import load_tokenizer

    assert set(DEFAULT_TOKENIZERS) == set(TOKENIZERS)
    found = [name for codec in DEFAULT_TOKENIZERS for name in shipped_pipelines(load_tokenizer(codec))]
    assert sorted(found) == sorted(PIPELINE_CARDS), "every generator that ships is heard"
    assert find_fixtures().is_file()


def test_without_the_packages_of_its_report_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"the demo's report needs matplotlib: .*pip install 'matplotlib>="):
        run_demo(DemoConfig(output=str(tmp_path / "demo")))
    assert not (tmp_path / "demo").exists()
