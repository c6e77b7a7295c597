"""The weights of NeuCodec that were released, without or with those of its semantic encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from ...core.hub import Source
from ..base import AudioTokenizer
from ..pretrained import PretrainedTokenizer
from .config import CodecConfig


class ReleasedWeights(PretrainedTokenizer):
    """How a version of NeuCodec is read from its official files."""

    semantic_hub_id: ClassVar[str] = "facebook/w2v-bert-2.0"  # of its weights, which official files do not contain

    @classmethod
    def from_official(cls, path: str | Path, semantic: str | Path | None = None, **options: Any) -> Self:
        """Loads official weights; see `AudioTokenizer.from_official`, and `read_official` for `semantic`."""
        return super().from_official(path, semantic=semantic, **options)

    @classmethod
    def read_official(
        cls, source: Source, semantic: str | Path | None = None, config: CodecConfig | None = None
    ) -> Self:
        """Reads a `pytorch_model.bin`, or the weights of transformers' `NeuCodecModel` with their config.

        Args:
            source: where they are.
            semantic: folder or hub id of the semantic encoder, whose weights `pytorch_model.bin` does not contain;
                None: the folder `semantic` next to it if that exists, else `semantic_hub_id`. The options of the hub,
                such as `cache_dir` and `token`, count for it as well, but for `revision` and `subfolder`.
            config: for a `pytorch_model.bin` of another size than the released one.

        Returns:
            The tokenizer in float32 on the CPU.

        Raises:
            CheckpointError: as there; or no semantic encoder (the message says which).
        """
        from .official import read_codec

        return read_codec(cls, source, semantic, config)  # type: ignore[type-var]  # a part of NeuCodec

    @classmethod
    def official_version(cls, source: Source) -> type[AudioTokenizer]:
        from .official import official_version

        return official_version(source)

    @classmethod
    def missing_hint(cls, missing: Sequence[str]) -> str:
        if not any(key.startswith("semantic_encoder.") for key in missing):
            return ""
        return (
            f". The semantic encoder ({cls.semantic_hub_id} in the released codec) is part of what save_pretrained "
            "writes: copy that folder whole, or make one of the official weights (hf download "
            f"{cls.semantic_hub_id} --local-dir FOLDER, then latentune convert SOURCE OUTPUT semantic=FOLDER)"
        )
