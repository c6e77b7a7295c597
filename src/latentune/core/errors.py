"""The exceptions of the library, one tree, so that a caller can catch all of it or one kind.

LatentuneError
 +-- ConfigError          a config key or value that does not exist or does not fit
 +-- AudioError           an audio file that cannot be read, or holds nothing that can be encoded
 +-- CheckpointError      weights that are missing, truncated or made for another configuration
 +-- DatasetError         a shard dataset that is missing, corrupt or of another format
 +-- MismatchError        two things that do not belong together (dataset and generator, statistics and embedder)
 +-- InUseError           an output that another process writes
 +-- EngineError          a task that the workers of an engine cannot finish
 +-- TrainingError        a run that cannot continue (NaN in the loss, nothing to train on)
 |    +-- TrainingInterrupted  a run that was stopped by a signal, after it saved a checkpoint
 +-- OutputError          a file or folder that cannot be written; it is an OSError, too
 +-- StorageError         remote storage that does not answer, or that nothing can be written to
 +-- MissingPackageError  a feature whose optional package is not installed

A wrong argument of a Python call is a plain `ValueError` or `TypeError`. The command line turns a
`LatentuneError`, `ValueError` or `OSError` into one line and exit code 1 (130 for Ctrl-C, 143 for SIGTERM), wrong usage
into exit code 2.
"""


class LatentuneError(Exception):
    """Base of all errors that this library defines."""


class ConfigError(LatentuneError, ValueError):
    """A config key or value that does not exist or does not fit."""


class AudioError(LatentuneError):
    """An audio file that cannot be read, or holds nothing that can be encoded."""


class CheckpointError(LatentuneError):
    """Weights that are missing, truncated or made for another configuration."""


class DatasetError(LatentuneError):
    """A shard dataset that is missing, corrupt or of another format."""


class MismatchError(LatentuneError):
    """Two things that do not belong together, such as a dataset and a generator trained on another codec."""


class InUseError(LatentuneError):
    """An output that another process writes; the message says which, since when, and what to do."""


class EngineError(LatentuneError):
    """A task that the workers of an engine cannot finish, since they die of it."""


class TrainingError(LatentuneError):
    """A training run that cannot continue."""


class TrainingInterrupted(TrainingError):
    """A training run that was stopped by a signal, after it saved a checkpoint; the message says how to resume.

    Args:
        message: of the error.
        by: name of the signal, None if another process got it.
    """

    def __init__(self, message: str = "", by: str | None = None):
        super().__init__(message)
        self.by = by


class OutputError(LatentuneError, OSError):
    """A file or folder that cannot be written. Its arguments are those of OSError: error number and message."""

    def __str__(self) -> str:
        return str(self.strerror)


class StorageError(LatentuneError):
    """Remote storage that does not answer, or that nothing can be written to."""


class MissingPackageError(LatentuneError, ImportError):
    """A feature whose optional package is not installed; the message names the extra that brings it."""
