"""The place of a process, and its GPU, from the variables that torchrun and srun set."""

import pytest
import torch

from latentune.core.device import pick_device
from latentune.core.errors import ConfigError
from latentune.core.processes import Place

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "6", "SLURM_NTASKS": "8", "SLURM_LOCALID": "2", "SLURM_STEP_NUM_TASKS": "8"}


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Place()),
        (TORCHRUN, Place(rank=5, count=8, local_rank=1, local_count=4, launcher="torchrun")),
        (SRUN, Place(rank=6, count=8, local_rank=2, launcher="srun")),
        (
            {**SRUN, **TORCHRUN},
            Place(rank=5, count=8, local_rank=1, local_count=4, launcher="torchrun"),
        ),  # torchrun within srun
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Place(rank=0, count=4, launcher="srun")),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "7"}, Place(rank=6, count=7, local_rank=2, launcher="srun")),
        ({"RANK": "1", "WORLD_SIZE": ""}, Place()),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Place(rank=1, count=2, launcher="torchrun")),
    ],
)
def test_the_environment_says_the_place(environ: dict[str, str], place: Place) -> None:
    assert Place.now(environ) == place


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"RANK is 2 and WORLD_SIZE is 2 .* within 0\.\.1"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is -1"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK in the environment is 'first'"),
        ({**SRUN, "SLURM_LOCALID": "x"}, "SLURM_LOCALID in the environment is 'x'"),
    ],
)
def test_a_wrong_place_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Place.now(environ)


@pytest.mark.parametrize(
    ("environ", "num_gpus", "gpu"),
    [
        ({}, 4, None),
        (TORCHRUN, 4, 1),
        ({**TORCHRUN, "LOCAL_RANK": "3"}, 2, 1),  # more processes than GPUs
        (SRUN, 4, 2),
        (SRUN, 1, 0),  # srun --gpus-per-task=1
        ({"RANK": "5", "WORLD_SIZE": "8"}, 4, 1),  # set by hand
    ],
)
def test_each_process_has_its_own_gpu(
    environ: dict[str, str], num_gpus: int, gpu: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    for name in {*TORCHRUN, *SRUN}:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for wanted in ("auto", "cuda"):
        assert pick_device(wanted) == torch.device("cuda", gpu)
    assert pick_device("cuda:3") == torch.device("cuda:3")
    assert pick_device("cpu") == torch.device("cpu")
