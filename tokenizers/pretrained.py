"""How tokenizers are loaded, from folders that `save_pretrained` wrote and from official weights, and their licence."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from ..core.config import refuse_unknown
from ..core.configured import ConfiguredModel
from ..core.errors import CheckpointError
from ..core.hub import HUB_OPTIONS, Source
from .cards import SHIPPED_CARDS, official_card, place_of
from .layouts import own_config

if TYPE_CHECKING:
    from .base import AudioTokenizer


class PretrainedTokenizer(ConfiguredModel):
    """The doors by which a tokenizer is loaded."""

    @property
    def licence(self) -> str:
        """The licence of the weights, kept in config.json; it is written into datasets and model cards."""
        licence: str = self.config.get("_licence", "unknown")
        return licence

    @licence.setter
    def licence(self, name: str) -> None:
        self.register_to_config(_licence=name)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> Self:
        """Loads a tokenizer of this class in eval mode: one that `save_pretrained` wrote, or official weights.

        `AudioTokenizer.from_pretrained` loads a tokenizer of any class, as `load_tokenizer` does.

        Args:
            path: a folder, a file of official weights, a hub id, or a shipped or official name.
            options: `torch_dtype`, `device_map`, those of the hub (`revision`, `subfolder`, `cache_dir`, `token`,
                `local_files_only`, `force_download`), and for official weights the codec's own.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: nothing usable is there, or keys do not fit (named).
        """
        from .base import AudioTokenizer

        if cls is AudioTokenizer:
            from .load import load_tokenizer

            loaded: Self = load_tokenizer(path, **options)  # type: ignore[assignment]  # any class is this one's
            return loaded
        cls._refuse_other_codec(path)
        source = Source(place_of(path), {name: options[name] for name in HUB_OPTIONS if name in options})
        if own_config(source) is None:
            return cls.from_official(path, **options)
        if source.is_remote:
            return super().from_pretrained(source.place, **options)
        return super().from_pretrained(source.folder, **{k: v for k, v in options.items() if k != "subfolder"})

    @classmethod
    def from_official(
        cls, path: str | Path, *, torch_dtype: torch.dtype | str | None = None, device_map: Any = None, **options: Any
    ) -> Self:
        """Loads weights in an official format of the codec, in eval mode.

        Args:
            path: a file, a folder, a hub id, or an official name.
            torch_dtype: of the weights; None: float32.
            device_map: the device of the whole network; None: the CPU.
            options: those of the hub (`revision`, `subfolder`, `cache_dir`, `token`, `local_files_only`,
                `force_download`); and the codec's own.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: nothing is there, it has another format, or keys do not fit (named).
            TypeError: an unknown option.
        """
        cls._refuse_other_codec(path)
        hub_options = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
        source = Source(place_of(path), hub_options)
        if own_config(source) is not None:
            return cls.from_pretrained(path, torch_dtype=torch_dtype, device_map=device_map, **hub_options)
        own = [name for name in inspect.signature(cls.read_official).parameters if name != "source"]
        refuse_unknown(options, own, f"{cls.__name__}.from_official", [*HUB_OPTIONS, "torch_dtype", "device_map"])
        loaded: Self = cls.read_official(source, **options).eval()
        loaded.place(torch_dtype, device_map)
        return loaded

    @classmethod
    def _refuse_other_codec(cls, path: str | Path) -> None:
        """Raises CheckpointError for a name or an official hub id that is of another class than this one."""
        card = SHIPPED_CARDS.get(str(path)) or official_card(place_of(path))
        versions = {one.__name__ for one in (*cls.__mro__, *cls.__subclasses__())}
        if card is not None and not Path(path).exists() and card.class_name not in versions:
            raise CheckpointError(f"{path} is a {card.class_name}, not a {cls.__name__}: load it with load_tokenizer")

    @classmethod
    def read_official(cls, source: Source) -> Self:
        """Builds the tokenizer with official weights, in float32 on the CPU; the codec's options are its arguments.

        Raises:
            CheckpointError: nothing is there, it has another format, or keys do not fit (named).
        """
        raise CheckpointError(f"{source} holds no {cls.__name__} that save_pretrained wrote, its only format")

    @classmethod
    def official_version(cls, source: Source) -> type[AudioTokenizer]:
        """Returns the class that official weights are of: this one, or another version of the same codec.

        Raises:
            CheckpointError: nothing is there, or it has another format.
        """
        return cls  # type: ignore[return-value]  # every tokenizer is an AudioTokenizer
