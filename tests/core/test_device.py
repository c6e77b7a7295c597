"""Names of devices and precisions."""

import pytest
import torch

from latentune.core.device import as_dtype, mapped_device, pick_device, pick_dtype


def test_auto_is_fp32_on_the_cpu_and_half_precision_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        assert pick_dtype("auto", "cpu") == torch.float32
        assert pick_dtype("auto", torch.device("cuda:0")) == dtype


def test_a_named_precision_holds_everywhere_but_fp16_on_a_cpu() -> None:
    for device in ("cpu", "cuda"):
        assert pick_dtype("fp32", device) == torch.float32
        assert pick_dtype("bf16", device) == torch.bfloat16
    assert pick_dtype("fp16", "cuda") == torch.float16
    for cpu in ("cpu", torch.device("cpu")):
        with pytest.raises(ValueError, match=r"fp16 needs a GPU.*use bf16 or fp32"):
            pick_dtype("fp16", cpu)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'bf16'"):
        pick_dtype("bfloat16", "cpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="use auto, cpu, cuda"):
        pick_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="no CUDA device"):
        pick_device("cuda")


def test_arguments_of_loading_name_one_device_and_one_dtype() -> None:
    assert as_dtype("bfloat16") == as_dtype(torch.bfloat16) == torch.bfloat16
    for device_map in ("cpu", torch.device("cpu"), {"": "cpu"}):
        assert mapped_device(device_map) == torch.device("cpu")
    for dtype in ("fp16", "int8", torch.int64, "nn", 16):
        with pytest.raises(ValueError, match="torch_dtype is "):
            as_dtype(dtype)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"names parts .a, b.: a network is on one device"):
        mapped_device({"a": 0, "b": 1})
    with pytest.raises(ValueError, match="unknown device 'balanced'"):
        mapped_device("balanced")
