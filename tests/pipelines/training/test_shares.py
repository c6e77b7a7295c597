"""The state of a sharded model in files without pickles; `test_processes` uses them in several processes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from latentune.core.errors import CheckpointError, MismatchError
from latentune.pipelines.training.config import OptimizerConfig
from latentune.pipelines.training.optim import build_optimizer, optimizer_tensors
from latentune.pipelines.training.shares import read_shares, write_shares

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def network(*, width: int = 3, steps: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network, part of which is frozen, after some steps."""
    torch.manual_seed(steps)
    model = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    model[2].requires_grad_(False)
    optimizer = build_optimizer(model, OptimizerConfig())
    for _ in range(steps):
        model(torch.randn(5, 2)).square().sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("learning_only", [False, True])
def test_weights_buffers_and_optimizer_state_come_back(tmp_path: Path, learning_only: bool) -> None:
    model, optimizer = network(steps=3)
    write_shares(tmp_path / "shares", model, optimizer, learning_only=learning_only)
    (file,) = (tmp_path / "shares").iterdir()
    assert ("model/2.weight" in load_file(file)) is not learning_only
    other, other_optimizer = network()
    frozen = other[2].weight.clone()
    read_shares(tmp_path / "shares", other, other_optimizer, learning_only=learning_only)
    expected, found = model.state_dict(), other.state_dict()
    for name, value in expected.items():
        if not (learning_only and name.startswith("2.")):
            assert torch.equal(found[name], value), name
    assert torch.equal(other[2].weight, frozen) is learning_only
    states = [optimizer_tensors(*pair) for pair in ((optimizer, model), (other_optimizer, other))]
    assert "0.weight/exp_avg" in states[0]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[1][key], value) for key, value in states[0].items())


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    write_shares(tmp_path / "shares", *network(steps=1), learning_only=False)
    with pytest.raises(MismatchError, match=r"has a 0\.weight of shape \(3, 2\), this model one of \(4, 2\)"):
        read_shares(tmp_path / "shares", *network(width=4), learning_only=False)
    with pytest.raises(CheckpointError, match=r"of another model: 2\.bias is in one of them only"):
        read_shares(tmp_path / "shares", *network(), learning_only=True)


def test_what_cannot_be_written_is_an_error_of_the_system_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        write_shares(tmp_path / "file" / "shares", *network(steps=1), learning_only=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
