"""CLAP's text side: prompts to unit vectors in the space of `ClapEmbedder`'s. Needs the extra `clap`.

Shape letters: P prompts, D embedding width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.errors import CheckpointError
from ....core.weights import hash_weights
from .clap_weights import fetch, model_state, read_checkpoint, text_config, text_side
from .pretrained import load_pretrained

logger = logging.getLogger(__name__)

MAX_TOKENS = 77  # laion-clap cuts longer prompts
ROBERTA = "roberta-base"  # hub id of the tokenizer of laion's checkpoints, which hold none


class ClapTextEncoder:
    """Frozen text tower and its tokenizer. The same prompt gives the same embedding."""

    def __init__(self, network: Any, tokenizer: Any, source: str):
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.source = source
        self.dim = network.config.projection_dim  # D

    @classmethod
    def from_checkpoint(cls, source: str | Path, tokenizer: str | Path | None = None) -> Self:
        """Load the text tower of what `ClapEmbedder.from_checkpoint` takes.

        Args:
            tokenizer: a folder, hub id or `tokenizer.json` file; by default the checkpoint's own folder or hub id, and
                `roberta-base` for laion's `.pt` files.

        Raises:
            CheckpointError: missing, unreadable, without a text tower, or a tokenizer that was not made for it.
        """
        import transformers

        path = fetch(source)
        if path is None or path.is_dir():
            network = load_pretrained(transformers.ClapTextModelWithProjection, path or source, "CLAP's text tower")
            tokenizer = tokenizer or path or source
        else:
            state = text_side(read_checkpoint(path), path)
            network = transformers.ClapTextModelWithProjection(transformers.ClapTextConfig(**text_config(state)))
            network.load_state_dict(model_state(state, network, f"{source} (CLAP's text tower)"))
            tokenizer = tokenizer or ROBERTA
        return cls(network, load_tokenizer(transformers, tokenizer, network.config), str(source))

    def embed(self, prompts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Unit vectors [P, D] float32 on the CPU. Prompts above 77 tokens are cut, as in laion-clap, with a warning.

        Raises:
            ValueError: no prompts, or one that is empty.
        """
        if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
            raise ValueError(f"prompts must be texts that are not empty, got {list(prompts)[:3]!r} ...")
        batches = (prompts[begin : begin + batch_size] for begin in range(0, len(prompts), batch_size))
        return torch.cat([self._embed_batch(list(batch)) for batch in batches])

    def _embed_batch(self, prompts: list[str]) -> Tensor:
        for prompt, ids in zip(prompts, self.tokenizer(prompts)["input_ids"], strict=True):
            if len(ids) > MAX_TOKENS:
                logger.warning("prompt has %d tokens, CLAP reads the first %d: %.60s", len(ids), MAX_TOKENS, prompt)
        tokens = self.tokenizer(prompts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.no_grad():
            output = self.network(
                input_ids=tokens["input_ids"].to(self.device), attention_mask=tokens["attention_mask"].to(self.device)
            )
            return F.normalize(output.text_embeds.float(), dim=-1).cpu()

    def identity(self) -> dict[str, Any]:
        """Returns all that text embeddings depend on."""
        return {
            "weights_sha256": self.weights_sha256,
            "vocabulary": self.network.config.vocab_size,
            "max_tokens": MAX_TOKENS,
        }

    @cached_property
    def weights_sha256(self) -> str:
        """Hex SHA-256 of names and values of the text tower's weights."""
        return hash_weights(self.network)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.network.parameters()).device
        return device

    def to(self, device: torch.device | str) -> ClapTextEncoder:
        """Move the network; returns self."""
        self.network.to(device)
        return self


def load_tokenizer(transformers: Any, source: str | Path, config: Any) -> Any:
    """Loads the tokenizer of a text tower.

    Args:
        transformers: the package.
        source: tokenizer.json, folder or hub id.
        config: of the tower.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: it cannot be loaded, or has another vocabulary or padding. Without a network, transformers 5
            gives a tokenizer of five tokens for a hub id that is not cached, and no error.
    """
    try:
        if Path(source).expanduser().is_file():
            tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(source), pad_token="<pad>")
        else:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(source))
    except Exception as error:  # the hub's, the file system's, and the Rust parser's errors have no common class
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"cannot load CLAP's tokenizer from {source}: {reason}") from error
    if len(tokenizer) != config.vocab_size or tokenizer.pad_token_id != config.pad_token_id:
        raise CheckpointError(
            f"the tokenizer of {source} has {len(tokenizer)} tokens and pads with number {tokenizer.pad_token_id}, the "
            f"text tower {config.vocab_size} and {config.pad_token_id}: give the tokenizer it was trained with"
        )
    return tokenizer
