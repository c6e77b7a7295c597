"""A network whose weights are shared out between the processes: PyTorch's fully sharded data parallelism (FSDP2).

It is PyTorch's own `fully_shard` and not accelerate's plugin, which does nothing for processes without a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: nn.Module, device: torch.device) -> None:
    """Shares the weights of a network out, in place, block by block; optimizers are built afterwards.

    Args:
        model: the network, the same in all processes.
        device: of this process.

    Raises:
        ValueError: the network has no repeated blocks, or torch is too old to save shares without pickles.
    """
    import torch.distributed.checkpoint
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    blocks = getattr(model, "repeated_blocks", ())
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no repeated blocks to share out: leave shard out")
    if not hasattr(torch.distributed.checkpoint, "HuggingFaceStorageWriter"):
        raise ValueError(f"shard needs torch 2.9 or newer, this is {torch.__version__}: leave shard out")
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
    if not isinstance(tensor, DTensor) or isinstance(value, DTensor) or value.shape != tensor.shape:
        return value
    # every process has the value, so that none has to send it
    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
