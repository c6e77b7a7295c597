"""Keys and values of the past, for attention over a sequence that arrives in pieces.

Shape letters: B batch, H heads, S positions kept, T new positions, E features of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class KVCache:
    """Keys and values in buffers that are allocated once; old positions are dropped so that a stream never ends.

    Keys are stored as attention compares them, rotary position included, so that nothing is computed twice. The kept
    positions stay in order and contiguous: they are `first_position` ... `end_position` - 1 of the sequence, and with
    `layers.attention.attend` query 0 of a piece that starts at position p has `first_query = p - first_position`.
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        head_dim: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        """Allocates the buffers.

        Args:
            batch: B.
            heads: H.
            head_dim: E.
            capacity: positions that fit at the same time. With room for more than are kept after each `drop_before`,
                a moving window is copied to the start of the buffer only now and then.
            dtype: of the keys and values.
            device: of the buffers.

        Raises:
            ValueError: a size below 1.
        """
        if min(batch, heads, head_dim, capacity) < 1:
            raise ValueError(
                f"batch, heads, head_dim and capacity must be at least 1, got {(batch, heads, head_dim, capacity)}"
            )
        self._keys, self._values = _buffers((batch, heads, capacity, head_dim), dtype, device)
        self.reset()

    def reset(self) -> None:
        """Forgets all positions; the buffers stay allocated."""
        self._start = self._stop = 0  # of what is kept, in the buffers
        self.first_position = 0  # of the sequence, of the oldest key

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def capacity(self) -> int:
        """Positions that fit at the same time."""
        return self._keys.shape[2]

    @property
    def end_position(self) -> int:
        """Position of the sequence that the next piece starts at."""
        return self.first_position + len(self)

    @property
    def keys(self) -> Tensor:
        """Kept keys [B, H, S, E], oldest first: a view that the next `append` may overwrite."""
        return self._keys[:, :, self._start : self._stop]

    @property
    def values(self) -> Tensor:
        """Kept values [B, H, S, E], oldest first: a view that the next `append` may overwrite."""
        return self._values[:, :, self._start : self._stop]

    @torch.no_grad()
    def append(self, k: Tensor, v: Tensor) -> None:
        """Stores keys and values [B, H, T, E] of the next T positions, without gradient.

        Raises:
            ValueError: another shape than the cache was made for, or no room for T more positions.
        """
        self._check(k, v, fewer=False)
        self._write(k, v)
        self._stop += k.shape[2]

    @torch.no_grad()
    def followed_by(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the kept keys and values and these after them, which are not kept.

        Args:
            k: keys [B', H, T, E] of the next T positions, of the first B' of the B items.
            v: values [B', H, T, E].

        Returns:
            Keys and values [B', H, S + T, E]: views that the next call may overwrite.

        Raises:
            ValueError: as `append`.
        """
        self._check(k, v, fewer=True)
        self._write(k, v)
        rows, stop = len(k), self._stop + k.shape[2]
        return self._keys[:rows, :, self._start : stop], self._values[:rows, :, self._start : stop]

    def drop_before(self, position: int) -> None:
        """Drops the keys and values of all positions before `position`; a window that moves on calls it."""
        count = min(max(position - self.first_position, 0), len(self))
        self._start += count
        self.first_position += count

    def reserve(self, count: int) -> None:
        """Makes room for `count` more positions; larger buffers are allocated only where the capacity is too small."""
        needed = len(self) + count
        if needed > self.capacity:
            batch, heads, _, head_dim = self._keys.shape
            shape = (batch, heads, max(needed, 2 * self.capacity), head_dim)
            self._move_to(*_buffers(shape, self._keys.dtype, self._keys.device))

    def _check(self, k: Tensor, v: Tensor, *, fewer: bool) -> None:
        batch, heads, _, head_dim = self._keys.shape
        fits = k.ndim == 4 and k.shape == v.shape and (k.shape[1], k.shape[3]) == (heads, head_dim)
        if not fits or (len(k) != batch and not (fewer and len(k) < batch)):
            raise ValueError(
                f"this cache takes keys and values [{batch}, {heads}, T, {head_dim}], got {tuple(k.shape)} and "
                f"{tuple(v.shape)}"
            )
        if len(self) + k.shape[2] > self.capacity:
            raise ValueError(
                f"{len(self)} positions are kept and {k.shape[2]} more do not fit a capacity of {self.capacity}: drop "
                "old ones first or reserve room"
            )

    def _write(self, k: Tensor, v: Tensor) -> None:
        """Writes keys and values behind what is kept."""
        stop = self._stop + k.shape[2]
        if stop > self.capacity:
            self._move_to(self._keys, self._values)
            stop = self._stop + k.shape[2]
        self._keys[: len(k), :, self._stop : stop] = k
        self._values[: len(k), :, self._stop : stop] = v

    @torch.no_grad()
    def _move_to(self, keys: Tensor, values: Tensor) -> None:
        """Copies what is kept to the start of these buffers, which may be the present ones."""
        count = len(self)
        # cloned, since source and target may overlap
        keys[:, :, :count], values[:, :, :count] = self.keys.clone(), self.values.clone()
        self._keys, self._values = keys, values
        self._start, self._stop = 0, count


class SlotCache(NamedTuple):
    """Keys and values of all layers of a network in numbered slots, which a tensor of slot numbers addresses.

    So a step that writes its keys and reads those of the past is one graph of fixed shapes, for a compiler too. What
    has not been written yet is hidden by the mask of the attention. Keys are stored as attention compares them.
    """

    keys: tuple[Tensor, ...]  # of each layer, [B, H, S, E]
    values: tuple[Tensor, ...]

    @classmethod
    def allocate(cls, layers: int, shape: tuple[int, int, int, int], like: Tensor) -> SlotCache:
        """Returns an empty cache.

        Args:
            layers: number of layers.
            shape: [B, H, S, E] of the keys, and of the values, of a layer.
            like: a tensor of the dtype and on the device of the cache.

        Raises:
            ValueError: a size below 1.
        """
        if min(layers, *shape) < 1:
            raise ValueError(f"the number of layers and the shape [B, H, S, E] must be positive, got {layers}, {shape}")
        pairs = [_buffers(shape, like.dtype, like.device) for _ in range(layers)]
        return cls(tuple(keys for keys, _ in pairs), tuple(values for _, values in pairs))

    @property
    def capacity(self) -> int:
        """Number of slots, S."""
        return self.keys[0].shape[2]

    def part(self, rows: int, slots: int) -> SlotCache:
        """Returns the first slots of the first items, as views: what is written into one is written into the other."""
        return SlotCache(
            tuple(keys[:rows, :, :slots] for keys in self.keys),
            tuple(values[:rows, :, :slots] for values in self.values),
        )


@torch.inference_mode(False)
def _buffers(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Plain tensors also in inference mode, so that a stream may leave it and continue."""
    return torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device)
