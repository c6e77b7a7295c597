"""Engines that do work: this process, processes for several devices, or a Ray cluster."""

from .base import Engine, MakeWorker, Worker
from .config import EngineConfig, RayConfig, build_engine
from .local import LocalEngine

__all__ = ["Engine", "EngineConfig", "LocalEngine", "MakeWorker", "RayConfig", "Worker", "build_engine"]
