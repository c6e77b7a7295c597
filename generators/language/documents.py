"""Attention of x-transformers' decoder over items that are set end to end.

Shape letters: B batch, H heads, N positions of all items, E features of a head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from x_transformers import Decoder
from x_transformers.attend import Intermediates
from x_transformers.x_transformers import Attention

from ...layers.attention import Causal, Documents, attend


class DocumentAttend(nn.Module):
    """The core of an attention layer: x-transformers' own, or `attend` where items are packed.

    x-transformers hands its argument `flash_pack_seq_kwargs`, which is for flash-attn alone, down to here unread.

    Args:
        usual: x-transformers' own.
    """

    def __init__(self, usual: nn.Module):
        super().__init__()
        self.usual = usual

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        flash_pack_seq_kwargs: dict[str, Documents] | None = None,
        **options: Any,
    ) -> tuple[Tensor, Any]:
        """Returns what queries attend to, [B, H, N, E], and x-transformers' intermediate results.

        Args:
            q: queries [B, H, N, E].
            k: keys [B, H, N, E].
            v: values [B, H, N, E].
            flash_pack_seq_kwargs: the documents; None: the items are not packed.
            options: of x-transformers.
        """
        if flash_pack_seq_kwargs is None:
            attended: tuple[Tensor, Any] = self.usual(q, k, v, **options)
            return attended
        return attend(q.to(v.dtype), k.to(v.dtype), v, flash_pack_seq_kwargs["documents"]), Intermediates()


def serve_documents(decoder: Decoder) -> None:
    """Lets the attention layers of a decoder take documents."""
    for layer in decoder.modules():
        if isinstance(layer, Attention):
            layer.attend = DocumentAttend(layer.attend)


def decode_documents(decoder: Decoder, x: Tensor, lengths: tuple[int, ...], rotary: tuple[Tensor, float]) -> Tensor:
    """Returns the hidden states [1, N, W] of items that are set end to end, each of which sees its own past alone.

    Args:
        decoder: prepared by `serve_documents`.
        x: [1, N, W] embeddings.
        lengths: positions of each item.
        rotary: x-transformers' `rotary_pos_emb` of all positions, [1, N, R].
    """
    documents = Documents(lengths, inner=Causal())
    hidden: Tensor = decoder(x, rotary_pos_emb=rotary, flash_pack_seq_kwargs={"documents": documents})
    return hidden
