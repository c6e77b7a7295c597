"""The ablations of neucodec-mini: other dimensions and levels of its FSQ, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from latentune.core.config import build_config
from latentune.core.objective import AudioBatch
from latentune.core.settings import load_settings
from latentune.tokenizers.neucodec import NeuCodec, NeuCodecConfig
from latentune.tokenizers.neucodec.objective import NeuCodecObjective
from latentune.tokenizers.neucodec.objective_config import NeuCodecObjectiveConfig

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "tokenizers"
ABLATIONS = {  # name -> levels and bit/s
    "neucodec-dims4-mini": ((4,) * 4, 400),
    "neucodec-levels2-mini": ((2,) * 8, 400),
    "neucodec-dims16-mini": ((2,) * 16, 800),
}


def read(name: str) -> NeuCodecConfig:
    return build_config(NeuCodecConfig, yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["config"])


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_in_its_levels_alone(name: str) -> None:
    config, usual = read(name), NeuCodecConfig.preset("neucodec-mini")
    levels, rate = ABLATIONS[name]
    assert config.fsq.levels == levels
    assert replace(config, fsq=usual.fsq) == usual
    with torch.device("meta"):
        assert NeuCodec(config).spec.packed_bitrate_bps == rate


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_trains_a_step_of_the_config_of_neucodec_mini(name: str, tmp_path: Path) -> None:
    overrides = [f"model.include=tokenizers/{name}", f"data.source={tmp_path}", "model.objective.crop_s=0.2"]
    settings = load_settings("train/neucodec-mini", overrides)
    assert settings["model"]["config"]["fsq"]["levels"] == list(ABLATIONS[name][0])
    torch.manual_seed(0)
    model = NeuCodec(replace(NeuCodecConfig.tiny(), fsq=read(name).fsq)).train()
    options = build_config(NeuCodecObjectiveConfig, settings["model"]["objective"])
    objective = NeuCodecObjective(options, model.settings)
    objective.prepare(model)
    audio = 0.1 * torch.randn(2, 1, 4800, generator=torch.Generator().manual_seed(0))
    loss, _, _ = objective.model_loss(
        model, AudioBatch(audio=audio, ids=["a", "b"]), step=0, generator=torch.Generator()
    )
    loss.backward()
    before = model.quantiser.project_in.weight.detach().clone()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert torch.isfinite(loss)
    assert not torch.equal(model.quantiser.project_in.weight, before)
    encoded = model.eval().encode(audio, 24_000)
    values = model.tokens_to_values(encoded.tokens)
    assert values.shape[-1] == len(ABLATIONS[name][0])
    assert float(values.abs().max()) < 1
    assert int(encoded.tokens.max()) < model.spec.codebook_sizes[0]
