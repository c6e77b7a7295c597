import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from compared_sets import run, three_sets, write

from latentune.core.errors import CheckpointError, ConfigError
from latentune.pipelines.commands.main import app
from latentune.pipelines.evaluate import EvaluateConfig


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path, Path]:
    return three_sets(tmp_path)


def test_bad_settings_are_refused(sets: tuple[Path, Path, Path]) -> None:
    for settings, message in (
        ({"metrics": ("fda",)}, "no metric 'fda'.*fad"),
        ({"metrics": ()}, "metrics is empty"),
        ({"names": ("one",)}, "1 names for 2 systems"),
        ({"names": ("one", "one")}, "two systems are called 'one'"),
        ({"bootstrap": 5}, "at least 20"),
        ({"confidence": 1.0}, "confidence"),
        ({"num_threads": -1}, "num_threads"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(*sets, **settings)
    with pytest.raises(CheckpointError, match="the embedder clap needs lukewys/laion_clap/music_audioset"):
        run(*sets, metrics=("clap-score",))
    config = EvaluateConfig(reference="r", generated="a/x", systems=("b/x", "b/y"))
    assert config.system_names() == ("a/x", "b/x", "b/y")
    with pytest.raises(ConfigError, match="two systems are called"):
        EvaluateConfig(reference="r", generated="a", systems=("a",))
    (sets[0] / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        run(*sets, html=str(sets[0] / "file" / "x.html"))


def test_the_command_takes_systems_options_and_keys(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    def call(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "200"})

    found = call(*sets, "-m", "fad,kl", "--csv", tmp_path / "r.csv", "max_files=2", "device=cpu")
    assert found.exit_code == 0, found.output
    assert "fad_musicnn ↓" in found.stdout
    assert "kl_musicnn ↓" in found.stdout
    assert "far 2 files" in found.stdout
    assert (tmp_path / "r.csv").is_file()
    for arguments, message, code in (
        ((sets[0],), "Missing argument 'GENERATED'", 2),
        ((*sets, "-m", "fid"), "no metric 'fid'", 1),
        ((*sets, "--engine", "spark"), "engine", 2),
    ):
        wrong = call(*arguments)
        assert wrong.exit_code == code
        assert message in wrong.stderr


def test_a_tokenizer_is_measured_by_its_reconstructions(tmp_path: Path) -> None:
    audio, folder = write(tmp_path / "audio", 1), tmp_path / "out"
    arguments = ["reconstruction", str(audio), str(folder), "--tokenizer", "codicodec-mini", "--device", "cpu"]
    found = CliRunner().invoke(app, ["experiment", *arguments])
    assert found.exit_code == 0, found.output
    for shown in ("mel_distance", "loudness_error_lu", "decode_rtf", "fad_musicnn", "tokens per"):
        assert shown in found.stdout
    assert "files: 1 measured, 0 left out" in found.stdout
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".json", ".html", ".png"}
    facts = json.loads((folder / "reconstruction.json").read_text())
    assert facts["codec"]["tokens_per_second"] == pytest.approx(125)
    assert facts["codec"]["tokens"]["entropy_bitrate_bps"] > 0
    assert [row["num_files"] for row in facts["by_length"] if row["system"] == "tokens"].count(0) == 6


@pytest.mark.parametrize(("figure", "package", "most"), [("pesq_wb", "pesq", 4.65), ("estoi", "pystoi", 1.0)])
def test_a_tokenizer_is_measured_by_the_figures_of_a_listener(
    tmp_path: Path, figure: str, package: str, most: float
) -> None:
    pytest.importorskip(package)
    audio, folder = write(tmp_path / "audio", 1), tmp_path / "out"
    arguments = ["reconstruction", str(audio), str(folder), "--tokenizer", "codicodec-mini", "--device", "cpu"]
    found = CliRunner().invoke(app, ["experiment", *arguments, "--figure", figure, "embedder=none", "num_players=0"])
    assert found.exit_code == 0, found.output
    facts = json.loads((folder / "reconstruction.json").read_text())
    assert figure not in facts["absent_figures"]
    for system in facts["systems"]:
        [found] = [one for one in system["figures"] if one["name"] == figure]
        assert found["num_values"] == (0 if system["name"] == "silence" and package == "pesq" else 1)
        assert found["value"] is None or -1.0 <= found["value"] <= most


def test_a_tokenizer_given_to_evaluate_is_measured_by_its_reconstructions(tmp_path: Path) -> None:
    audio = write(tmp_path / "audio", 1)
    own = ["--tokenizer", "codicodec-mini", "--figure", "mel_distance", "--device", "cpu", "embedder=none"]
    own += ["references=[]", "--json"]
    given = ["evaluate", "--audio", str(audio)], ["evaluate", f"--audio={audio}"], ["evaluate", str(audio)]
    found = [CliRunner().invoke(app, [*arguments, *own]) for arguments in given]
    found.append(CliRunner().invoke(app, ["experiment", "reconstruction", str(audio), *own]))
    assert [one.exit_code for one in found] == [0] * 4, found[0].output
    systems = [json.loads(one.stdout)["systems"] for one in found]
    assert systems[0] == systems[1] == systems[2] == systems[3]
    assert [one["name"] for one in systems[0]] == ["latents", "tokens"]
    wrong = CliRunner().invoke(app, ["evaluate", "--tokenizer", "codicodec-mini"])
    assert wrong.exit_code == 2
    assert "Missing argument 'AUDIO'" in wrong.stderr
