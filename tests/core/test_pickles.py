"""Foreign pickles, read whole or left in the file."""

import argparse
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentune.core.errors import CheckpointError
from latentune.core.pickles import load_pickle, load_state_pickle

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2, dtype=torch.bfloat16)}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_both_formats_of_torch_are_read(tmp_path: Path, zipped: bool, mapped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    found = load_state_pickle(path, mapped=mapped)
    assert list(found) == list(STATE)
    for name, tensor in STATE.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_mapped_tensors_are_not_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    torch.save({"weight": torch.zeros(10_000_000)}, path)
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("needs Linux")
    whole = load_state_pickle(path)
    assert str(path) not in maps.read_text()
    mapped = load_state_pickle(path, mapped=True)
    assert str(path) in maps.read_text()
    mapped["weight"] += 1.0  # a copy of its own
    assert torch.equal(load_state_pickle(path)["weight"], whole["weight"])


@pytest.mark.parametrize("mapped", [False, True])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "x.bin"
    with pytest.raises(CheckpointError, match="no checkpoint file at"):
        load_pickle(path, mapped=mapped)
    torch.save({"model": STATE}, path)
    assert load_pickle(path, mapped=mapped)["model"]["weight"].shape == (2, 3)
    with pytest.raises(CheckpointError, match="not a flat dict of tensors"):
        load_state_pickle(path, mapped=mapped)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot read"):
        load_pickle(path, mapped=mapped)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_pickle(path, mapped=mapped)


class Runs:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, ("touch ran",)


def write_tar(path: Path) -> None:
    """As the first releases of torch wrote."""
    with tarfile.open(path, "w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps({})
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            file.addfile(facts, io.BytesIO(content))


def write_cut(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: torch.save({"a": Runs()}, path), "it contains posix.system, which is not a weight"),
        (
            lambda path: torch.save({"a": Runs()}, path, _use_new_zipfile_serialization=False),
            "it contains posix.system, which is not a weight",
        ),
        (lambda path: torch.save({"a": argparse.Namespace()}, path), "it contains argparse.Namespace, which is"),
        (lambda path: path.write_bytes(pickle.dumps(Runs())), "it was written by another program than torch.save"),
        (lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path), "it is a TorchScript program"),
        (write_tar, r"it has the \.tar format"),
        (write_cut, "it is not complete: the end of the file"),
        (lambda path: path.touch(), "it is an empty file"),
        (lambda path: path.write_text("hello"), "it is not a pickle"),
    ],
)
def test_the_reason_is_told_and_no_advice_to_run_code(
    write: Callable[[Path], None], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match=f"cannot read .*/x.bin as a torch checkpoint: {reason}") as caught:
        load_pickle(tmp_path / "x.bin")
    assert "weights_only" not in str(caught.value)
    assert "safe_globals" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
