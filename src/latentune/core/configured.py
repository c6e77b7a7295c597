"""A diffusers model whose `config.json` is one config dataclass: the base of tokenizers and generators."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers.utils import logging as diffusers_logging

from .config import build_config, config_to_dict, refuse_unknown
from .device import as_dtype, mapped_device
from .errors import CheckpointError
from .files import let_others_read
from .folders import atomic_folder, refuse_strangers
from .hub import HUB_OPTIONS, is_hub_id, shortened
from .model_card import CARD_FILE, written_by_hand
from .published import PublishedModel
from .registry import OWN_PACKAGE, class_path, refuse_own_modules
from .trainable import TrainableModel
from .weights import describe_keys

WEIGHTS = "diffusion_pytorch_model"  # how the names of weights begin
# files next to a model that stay when it is replaced
COMPANIONS = ("README.md", "LICENSE", ".gitattributes", "figures.json", "spectrograms.png")
OPTIONS = ("torch_dtype", "device_map", *HUB_OPTIONS)  # of `from_pretrained` that every loader has
# further ones, which pipelines of diffusers pass on to their parts
DIFFUSERS_OPTIONS = (
    "disable_mmap",
    "low_cpu_mem_usage",
    "max_memory",
    "offload_folder",
    "offload_state_dict",
    "use_flashpack",
    "use_safetensors",
    "variant",
)
# of `save_pretrained`, which go to `push_to_hub`
PUSH_OPTIONS = ("push_to_hub", "repo_id", "commit_message", "private", "create_pr", "token")
# of config.json, in addition to the config dataclass: facts about the weights
KEPT_KEYS = (
    "_licence",
    "_rounded_from",  # fingerprint of weights that were rounded to another dtype -> of those before
)


class ConfiguredModel(TrainableModel, PublishedModel):
    """`ModelMixin` + `ConfigMixin` with a dataclass config.

    A subclass sets `config_class` and is built as `Model(config)`. `from_pretrained` (local folder or hub id),
    `save_pretrained`, safetensors, `torch_dtype` and `revision` are those of diffusers; loading is strict.
    """

    config_class: ClassVar[type]
    config_name = "config.json"  # type: ignore[assignment]

    def __init__(self, config: Any):
        super().__init__()  # type: ignore[no-untyped-call]
        if not isinstance(config, self.config_class):
            raise TypeError(f"{type(self).__name__} takes a {self.config_class.__name__}, got {type(config).__name__}")
        self.settings = config
        if type(self).__module__.startswith(f"{OWN_PACKAGE}."):
            # a DiffusionPipeline writes where it finds the class of a component again: by its name in `latentune`
            self.__module__ = OWN_PACKAGE
        self.register_to_config(**config_to_dict(config))

    def register_to_config(self, **values: Any) -> None:
        """Adds values to what `config.json` holds."""
        super().register_to_config(**values)  # type: ignore[no-untyped-call]

    def replace_settings(self, **values: Any) -> None:
        """Replaces values of the config that the network was not built from, such as facts about training data."""
        self.settings = replace(self.settings, **values)
        self.register_to_config(**{key: config_to_dict(self.settings)[key] for key in values})

    @classmethod
    def upgrade(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a config dict, as read from `config.json`, in today's format; a class whose format changed overrides
        this.
        """
        return dict(values)

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **unused: Any) -> Any:
        """Builds a model with random weights from a config dict (as read from `config.json`).

        Args:
            config: the values of the config dataclass, and perhaps facts about the weights.
            return_unused_kwargs: whether to return the unused arguments as well, as diffusers asks for.
            unused: further arguments of diffusers.

        Returns:
            The model, or the model and `unused`.

        Raises:
            ConfigError: an unknown key, a missing key or a wrong value.
        """
        known = {key: value for key, value in cls.upgrade(dict(config)).items() if not key.startswith("_")}
        model = cls(build_config(cls.config_class, known, cls.__name__))
        model.register_to_config(**{key: dict(config)[key] for key in KEPT_KEYS if key in dict(config)})
        return (model, unused) if return_unused_kwargs else model

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> Self:
        """Loads `config.json` and weights from a local folder or a hub id, strictly, in eval mode.

        Args:
            path: the folder or hub id.
            options: of diffusers, such as `torch_dtype`, `device_map` (the device of the whole network), `revision`
                and `subfolder`.

        Raises:
            TypeError: an unknown option.
            CheckpointError: there is nothing at `path`, a file is unreadable, or keys are missing or unexpected
                (named).
        """
        refuse_unknown(options, [*OPTIONS, *DIFFUSERS_OPTIONS], f"{cls.__name__}.from_pretrained")
        if not is_hub_id(path) and not Path(path).exists():  # which the hub would be asked for, five times
            raise CheckpointError(f"cannot load {cls.__name__} from {path}: there is no such folder")
        options.setdefault("low_cpu_mem_usage", False)
        folder = Path(path) / (options.get("subfolder") or "")
        if (folder / cls.config_name).is_file():
            refuse_own_modules(folder / cls.config_name)
        card = written_by_hand(folder)
        dtype, device_map = options.pop("torch_dtype", None), options.pop("device_map", None)
        try:
            with _quiet_diffusers():  # about incomplete weights, which are refused below
                model, info = super().from_pretrained(  # type: ignore[no-untyped-call]
                    str(path), output_loading_info=True, **options
                )
        except (OSError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"cannot load {cls.__name__} from {path}: {shortened(error)}") from error
        missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
        if missing or unexpected or info.get("mismatched_keys"):
            raise CheckpointError(
                f"weights at {path} do not fit {cls.__name__}: {describe_keys('missing', missing)}, "
                f"{describe_keys('unexpected', unexpected)}, mismatched {info.get('mismatched_keys') or 'none'}"
                f"{cls.missing_hint(missing)}"
            )
        loaded: Self = model.eval()
        if card is not None:
            loaded._card = (loaded._own_fingerprint(), card)
        loaded.place(dtype, device_map)
        return loaded

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves and converts the weights, as `torch.nn.Module.to` does; the fingerprint stays that of the weights
        before.
        """
        dtype = next((one for one in (*args, kwargs.get("dtype")) if isinstance(one, torch.dtype)), None)
        rounds = dtype not in (None, self.dtype)
        before, card = (self.fingerprint(), self._own_card()) if rounds else (None, None)
        with _quiet_diffusers():  # which, given a dtype, warns of modules to be kept in float32 even if there are none
            moved: Self = super().to(*args, **kwargs)  # type: ignore[misc]
        if before is not None and (own := self._own_fingerprint()) != before:
            self.register_to_config(_rounded_from={own: before})
            self._card = None if card is None else (own, card)
        return moved

    def half(self) -> Self:
        """Rounds the weights to float16; see `to`."""
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        """Rounds the weights to bfloat16; see `to`."""
        return self.to(torch.bfloat16)

    def place(self, torch_dtype: torch.dtype | str | None = None, device_map: Any = None) -> None:
        """Converts and moves the weights, as `to` does, by the names that loaders take.

        Args:
            torch_dtype: see `core.device.as_dtype`; None leaves it as it is.
            device_map: see `core.device.mapped_device`; None leaves the weights where they are.
        """
        device = None if device_map is None else mapped_device(device_map)
        self.to(device=device, dtype=None if torch_dtype is None else as_dtype(torch_dtype))

    @classmethod
    def missing_hint(cls, missing: Sequence[str]) -> str:
        """Returns advice about weights that lack these keys, for the end of an error message; it may be empty."""
        return ""

    def save_pretrained(self, path: str | Path, **options: Any) -> None:
        """Writes `config.json` and safetensors to a folder, all or nothing; where the model was loaded from is not
        recorded.

        Args:
            path: of the folder. A model of the same class that is there is replaced. A model card that somebody wrote
                stays, and so does that next to the weights that were loaded, as long as they are the same.
            options: of `ModelMixin.save_pretrained` of diffusers. With `push_to_hub` the model is uploaded as well, to
                `repo_id` or a repository of the folder's name.

        Raises:
            ValueError: the folder holds something else.
            OutputError: it cannot be written; what was there before is as it was.
        """
        if not options.get("is_main_process", True):
            return
        folder = Path(path).expanduser()
        self.check_target(folder)
        push = {name: options.pop(name) for name in PUSH_OPTIONS if name in options}
        # a variant, such as fp16, is added to the weights that are there
        others = [file.name for file in folder.iterdir()] if options.get("variant") and folder.is_dir() else []
        self.register_to_config(_name_or_path="")
        with atomic_folder(folder, kept=[*COMPANIONS, *others]) as part:
            super().save_pretrained(str(part), **options)  # type: ignore[misc]
            let_others_read(*part.glob("*.safetensors"))
            if written_by_hand(folder) is None and (card := self._own_card()) is not None:
                (part / CARD_FILE).write_text(card, encoding="utf-8")
        if push.pop("push_to_hub", False):
            self.push_to_hub(push.pop("repo_id", folder.name), **push)

    @classmethod
    def check_target(cls, path: str | Path) -> None:
        """Raises ValueError if a folder holds anything but a model of this class, which saving would remove."""
        folder, what = Path(path).expanduser(), f"the {cls.__name__}"
        refuse_strangers(folder, [cls.config_name, f"{WEIGHTS}*", *COMPANIONS], what, mark=cls.config_name)
        if (config := folder / cls.config_name).is_file():
            try:
                found = json.loads(config.read_text(encoding="utf-8"))["_class_name"]
            except (ValueError, KeyError, TypeError):
                found = "something else"
            if found != class_path(cls):
                raise ValueError(f"{folder} holds {found}: choose a new folder for {what}")

    def to_json_string(self) -> str:
        """Returns the contents of `config.json`; a class from outside the package is named as `module:Class`."""
        values = {**json.loads(super().to_json_string()), "_class_name": class_path(type(self))}
        return json.dumps(values, indent=2, sort_keys=True) + "\n"


@contextmanager
def _quiet_diffusers() -> Iterator[None]:
    """Suppresses warnings of diffusers."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)
