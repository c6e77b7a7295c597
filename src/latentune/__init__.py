"""Latentune: neural audio codecs, and generators that are trained on their latents and tokens.

Everything a program needs is imported from here. A name is loaded when it is first used, so that `import latentune`
itself is fast and imports no torch::

    tokenizer = latentune.load_tokenizer("melcodec-music")  # audio <-> latents and tokens
    generator = latentune.load_generator("runs/dit/checkpoints/00010000/ema")  # prompts -> latents or tokens
    pipeline = latentune.load_pipeline("melcodec-music-dit")  # prompts -> audio
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.config import build_config as build_config
    from .core.errors import AudioError as AudioError
    from .core.errors import CheckpointError as CheckpointError
    from .core.errors import ConfigError as ConfigError
    from .core.errors import DatasetError as DatasetError
    from .core.errors import LatentuneError as LatentuneError
    from .core.errors import MismatchError as MismatchError
    from .core.errors import MissingPackageError as MissingPackageError
    from .core.errors import TrainingError as TrainingError
    from .core.errors import TrainingInterrupted as TrainingInterrupted
    from .core.settings import load_config as load_config
    from .core.settings import load_settings as load_settings
    from .core.settings import shipped_configs as shipped_configs
    from .generators.base import LatentGenerator as LatentGenerator
    from .generators.conditions import Conditions as Conditions
    from .generators.continuous import ContinuousAR as ContinuousAR
    from .generators.diffusion import DiffusionTransformer as DiffusionTransformer
    from .generators.given import Given as Given
    from .generators.language import TokenLM as TokenLM
    from .generators.language import TokenSetLM as TokenSetLM
    from .generators.load import load_generator as load_generator
    from .pipelines.data.audio import find_audio as find_audio
    from .pipelines.data.audio import read_audio as read_audio
    from .pipelines.data.audio import resample as resample
    from .pipelines.data.audio import write_audio as write_audio
    from .pipelines.data.shards import LatentDataset as LatentDataset
    from .pipelines.data.shards import collate as collate
    from .pipelines.decode import DecodeConfig as DecodeConfig
    from .pipelines.decode import decode_dataset as decode_dataset
    from .pipelines.encode import EncodeConfig as EncodeConfig
    from .pipelines.encode import encode_dataset as encode_dataset
    from .pipelines.evaluate import EvaluateConfig as EvaluateConfig
    from .pipelines.evaluate import ResultsTable as ResultsTable
    from .pipelines.evaluate import evaluate as evaluate
    from .pipelines.generation.diffusers_pipeline import LatentunePipeline as LatentunePipeline
    from .pipelines.generation.load import build_pipeline as build_pipeline
    from .pipelines.generation.load import load_pipeline as load_pipeline
    from .pipelines.generation.pipeline import AudioOutput as AudioOutput
    from .pipelines.generation.pipeline import GenerationPipeline as GenerationPipeline
    from .pipelines.info import dataset_info as dataset_info
    from .pipelines.measure.channel import RobustnessConfig as RobustnessConfig
    from .pipelines.measure.channel import run_robustness as run_robustness
    from .pipelines.measure.codecs.config import ExperimentConfig as ExperimentConfig
    from .pipelines.measure.codecs.run import run_experiment as run_experiment
    from .pipelines.measure.embedders import load_embedder as load_embedder
    from .pipelines.sample import SampleConfig as SampleConfig
    from .pipelines.sample import sample_to_folder as sample_to_folder
    from .pipelines.train import TrainConfig as TrainConfig
    from .pipelines.train import train as train
    from .pipelines.train import train_config as train_config
    from .tokenizers.base import AudioTokenizer as AudioTokenizer
    from .tokenizers.base import Encoded as Encoded
    from .tokenizers.base import TokenizerSpec as TokenizerSpec
    from .tokenizers.codicodec import CoDiCodec as CoDiCodec
    from .tokenizers.load import load_official as load_official
    from .tokenizers.load import load_tokenizer as load_tokenizer
    from .tokenizers.melcodec import MelCodec as MelCodec
    from .tokenizers.neucodec import DistillNeuCodec as DistillNeuCodec
    from .tokenizers.neucodec import NeuCodec as NeuCodec
    from .tokenizers.taae import TAAE as TAAE

__version__ = "0.2.0.dev0"

# module -> public names in it; the imports above repeat the table for type checkers
_MODULES = {
    "core.config": ("build_config",),
    "core.errors": (
        "AudioError",
        "CheckpointError",
        "ConfigError",
        "DatasetError",
        "LatentuneError",
        "MismatchError",
        "MissingPackageError",
        "TrainingError",
        "TrainingInterrupted",
    ),
    "core.settings": ("load_config", "load_settings", "shipped_configs"),
    "generators.base": ("LatentGenerator",),
    "generators.conditions": ("Conditions",),
    "generators.continuous": ("ContinuousAR",),
    "generators.diffusion": ("DiffusionTransformer",),
    "generators.given": ("Given",),
    "generators.language": ("TokenLM", "TokenSetLM"),
    "generators.load": ("load_generator",),
    "pipelines.data.audio": ("find_audio", "read_audio", "resample", "write_audio"),
    "pipelines.data.shards": ("LatentDataset", "collate"),
    "pipelines.decode": ("DecodeConfig", "decode_dataset"),
    "pipelines.encode": ("EncodeConfig", "encode_dataset"),
    "pipelines.evaluate": ("EvaluateConfig", "ResultsTable", "evaluate"),
    "pipelines.generation.diffusers_pipeline": ("LatentunePipeline",),
    "pipelines.generation.load": ("build_pipeline", "load_pipeline"),
    "pipelines.generation.pipeline": ("AudioOutput", "GenerationPipeline"),
    "pipelines.info": ("dataset_info",),
    "pipelines.measure.channel": ("RobustnessConfig", "run_robustness"),
    "pipelines.measure.codecs.config": ("ExperimentConfig",),
    "pipelines.measure.codecs.run": ("run_experiment",),
    "pipelines.measure.embedders": ("load_embedder",),
    "pipelines.sample": ("SampleConfig", "sample_to_folder"),
    "pipelines.train": ("TrainConfig", "train", "train_config"),
    "tokenizers.base": ("AudioTokenizer", "Encoded", "TokenizerSpec"),
    "tokenizers.codicodec": ("CoDiCodec",),
    "tokenizers.load": ("load_official", "load_tokenizer"),
    "tokenizers.melcodec": ("MelCodec",),
    "tokenizers.neucodec": ("DistillNeuCodec", "NeuCodec"),
    "tokenizers.taae": ("TAAE",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(["__version__", *_PLACES])  # type checkers read the imports above


def __dir__() -> list[str]:
    return list(__all__)


if not TYPE_CHECKING:  # a type checker shall report an unknown name

    def __getattr__(name: str) -> Any:
        if name == "ModelMixin":  # diffusers looks the base of a pipeline's component up where it finds its class
            from diffusers import ModelMixin

            return ModelMixin
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
        globals()[name] = value
        return value
