"""The weights of a language model as a step of sampling takes them, packed once for many calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from .draw import HeadWeights, head_weights
from .trunk import TrunkWeights, trunk_weights

if TYPE_CHECKING:
    from .lm import TokenLM


class StepWeights(NamedTuple):
    """All weights of a step."""

    trunk: TrunkWeights
    head: HeadWeights
    table: Tensor  # [levels of all digits, W] embeddings
    first_row: Tensor  # [K] of each digit in the table
    end: tuple[Tensor, Tensor] | None  # [1, W] and [1], of the logit that a frame is the last; None: not learned

    @classmethod
    def of(cls, model: TokenLM) -> StepWeights:
        """Returns those of a language model, valid until it is changed or moved."""
        embedding, end = model.digit_embedding, model.end_head.to_logit if model.settings.ends else None
        return cls(
            trunk_weights(model.decoder),
            head_weights(model.head),
            embedding.table.weight.detach(),
            embedding.first_row,
            None if end is None else (end.weight.detach(), end.bias.detach()),
        )


class PackedFrom(NamedTuple):
    """The state of the parameters that weights were packed from."""

    storages: list[Tensor]  # of the parameters; held, so that no other weights come to lie at their addresses
    versions: list[int]  # counts the changes in place
    first: list[float]  # of each parameter, since a change through `.data` is not counted

    @classmethod
    def of(cls, parameters: list[nn.Parameter]) -> PackedFrom:
        """Returns that of some parameters."""
        held = [weight.detach() for weight in parameters]
        first = torch.stack([weight.flatten()[0].float() for weight in held]).tolist()
        return cls(held, [weight._version for weight in held], first)

    def is_still(self, now: PackedFrom) -> bool:
        """Returns whether the parameters are the same and unchanged."""
        places, places_now = ([weight.data_ptr() for weight in state.storages] for state in (self, now))
        return places == places_now and self[1:] == now[1:]


class PackedWeights(nn.Module):
    """Keeps the packed weights of a language model until its parameters change. It has no weights of its own.

    Packing copies all weights, which takes as long as several steps. The copy is dropped when the model is moved, cast
    or trained. A model with adapters is packed for every call.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[PackedFrom, StepWeights] | None = None

    def of(self, model: TokenLM) -> StepWeights:
        """Returns the weights of a step of the model that this is a part of."""
        parts = [model.decoder, model.head, model.digit_embedding, *([model.end_head] if model.settings.ends else [])]
        parameters = [weight for part in parts for weight in part.parameters()]
        if model._hf_peft_config_loaded or any(weight.is_inference() for weight in parameters):
            self._kept = None  # inference tensors count no changes
            return StepWeights.of(model)
        now = PackedFrom.of(parameters)
        if self._kept is None or not self._kept[0].is_still(now):
            self._kept = now, StepWeights.of(model)
        return self._kept[1]

    def train(self, mode: bool = True) -> Self:
        """Drops what is kept when training begins."""
        if mode:
            self._kept = None
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._kept = None
        applied: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}
