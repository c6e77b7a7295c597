"""Engines that do work: this process with threads that read ahead, or a Ray cluster."""

from .base import Engine, Worker, work_through
from .local import LocalEngine

__all__ = ["Engine", "LocalEngine", "Worker", "work_through"]
