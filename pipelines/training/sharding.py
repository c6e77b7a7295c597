"""A network whose weights are shared out between the processes: PyTorch's fully sharded data parallelism (FSDP2).

It is PyTorch's own `fully_shard` and not accelerate's plugin, which does nothing for processes without a GPU.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ...core.configured import ConfiguredModel


def shard(model: nn.Module, device: torch.device) -> None:
    """Shares the weights of a network out, in place, block by block; optimizers are built afterwards.

    Args:
        model: the network, the same in all processes.
        device: of this process.

    Raises:
        ValueError: the network has no repeated blocks.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    blocks = getattr(model, "repeated_blocks", ())
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no repeated blocks to share out: leave shard out")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gathered(tensor: Tensor) -> Tensor:
    """Returns the whole tensor on the CPU; with a share of one, every process calls it at the same time."""
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().cpu().contiguous()


def share_of(tensor: Tensor) -> Tensor:
    """Returns what of a tensor is in this process, a view; a plain tensor is returned as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, value: Tensor) -> Tensor:
    """Returns a whole `value` as a share, if `tensor` is a share of something of the same shape."""
    if not isinstance(tensor, DTensor) or value.shape != tensor.shape:
        return value
    # every process has the value, so that none has to send it
    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)


class Whole:
    """Makes whole copies of a model, in which `shard` may have left shares.

    Args:
        model: before it is sharded.
        sharded: whether it will be; otherwise the model is whole itself.
    """

    def __init__(self, model: ConfiguredModel, sharded: bool):
        self.model = model
        self.copy: Any = copy.deepcopy(model).to("cpu").eval() if sharded else None

    def __call__(self, device: torch.device | str = "cpu") -> ConfiguredModel:
        """Returns the whole model; if it is sharded, a copy on `device`, and every process calls this."""
        if self.copy is None:
            return self.model
        weights = {name: gathered(value) for name, value in cast(nn.Module, self.model).state_dict().items()}
        self.copy.load_state_dict(weights)
        whole: ConfiguredModel = self.copy.to(device)
        return whole
