"""Any text encoder of transformers: T5, Flan-T5, Gemma, MiniLM, CLAP's text tower and so on, one embedding per token.

Shape letters: S tokens of a text, E embedding width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ....core.errors import CheckpointError
from .base import FrozenEncoder, check_texts
from .pretrained import load_pretrained

logger = logging.getLogger(__name__)

BATCH = 32  # texts that are encoded at once
UNREAD = ("pooler.",)  # weights that a checkpoint may lack: no embedding of a token depends on them
MIN_VOCABULARY_SHARE = 0.5  # of the network's; without a network, transformers 5 can give a tokenizer of five tokens


class TransformersTextEncoder(FrozenEncoder):
    """The last hidden states of a text, one for each of its tokens."""

    def __init__(self, network: Any, tokenizer: Any, max_tokens: int):
        super().__init__([network], width_of(network.config))
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self.num_truncated = 0  # texts cut to max_tokens since this object was made

    @classmethod
    def from_checkpoint(cls, source: str | Path, *, max_tokens: int = 128) -> Self:
        """Loads a folder or hub id of transformers.

        Args:
            source: the folder or hub id, with its tokenizer.
            max_tokens: a longer text is cut to them, which is counted and logged.

        Raises:
            CheckpointError: nothing there, unreadable, or a tokenizer that was not made for the network.
        """
        network = load_pretrained(_model_class(source), source, "text encoder", may_lack=UNREAD)
        return cls(network, _tokenizer(source, network.config), max_tokens)

    def embed(self, values: Sequence[Any]) -> list[Tensor]:
        texts = check_texts(values)
        found: list[Tensor] = [torch.empty(0)] * len(texts)
        order = sorted(
            range(len(texts)), key=lambda place: len(texts[place])
        )  # texts of similar length are padded less
        for begin in range(0, len(order), BATCH):
            places = order[begin : begin + BATCH]
            for place, embeddings in zip(places, self._embed_batch([texts[p] for p in places]), strict=True):
                found[place] = embeddings
        return found

    def _embed_batch(self, texts: list[str]) -> list[Tensor]:
        ids = self.tokenizer(texts, truncation=True, max_length=self.max_tokens + 1)["input_ids"]
        cut = [text for text, tokens in zip(texts, ids, strict=True) if len(tokens) > self.max_tokens]
        if cut and not self.num_truncated:
            logger.warning(
                "a text is cut to %d tokens (max_tokens); further cuts are counted, not logged: %.60s",
                self.max_tokens,
                cut[0],
            )
        self.num_truncated += len(cut)
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        mask = batch["attention_mask"].bool()
        with torch.no_grad():
            output = self.networks[0](
                input_ids=batch["input_ids"].to(self.device), attention_mask=batch["attention_mask"].to(self.device)
            )
        hidden = output.last_hidden_state.float().cpu()
        return [states[real].clone() for states, real in zip(hidden, mask, strict=True)]


def width_of(config: Any) -> int:
    """Returns E of a text encoder's config."""
    for name in ("hidden_size", "d_model"):
        for part in (config, getattr(config, "text_config", None), getattr(config, "encoder", None)):
            if isinstance(width := getattr(part, name, None), int):
                return width
    raise CheckpointError(f"a {type(config).__name__} does not say its hidden size: it is not a text encoder")


def read_width(source: str | Path) -> int:
    """Returns E of the text encoder at a folder or hub id, without loading its weights.

    Raises:
        CheckpointError: nothing there, or not a model of transformers.
    """
    config = _config(source)
    return width_of(config.text_config if config.model_type == "clap" else config)


def _config(source: str | Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(source))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"no text encoder at {source}: give a folder or hub id in transformers' format ({reason})"
        ) from error


def _model_class(source: str | Path) -> Any:
    """Returns the class that loads the encoder alone: half of a T5 is a decoder, and most of a CLAP hears."""
    import transformers

    config = _config(source)
    if config.model_type == "clap":
        return transformers.ClapTextModelWithProjection  # the projection is not read
    if type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING:
        return transformers.AutoModelForTextEncoding
    return transformers.AutoModel


def _tokenizer(source: str | Path, config: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source))
    except Exception as error:  # the hub's, the file system's, and the Rust parser's errors have no common class
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"cannot load the tokenizer of {source}: {reason}") from error
    if not MIN_VOCABULARY_SHARE * config.vocab_size <= len(tokenizer) <= config.vocab_size:
        raise CheckpointError(
            f"the tokenizer of {source} has {len(tokenizer)} tokens, the network {config.vocab_size}: give the files "
            "of the tokenizer that it was trained with"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
