"""The distances of other packages as peers: their own functions, without the packages' other imports.

`frechet-audio-distance` 0.3.4, `fadtk` 1.1.0 and `kadtk` 1.1.0 import laion-clap, encodec and more as they start, in
versions that do not go together. Their arithmetic needs numpy, scipy and torch alone, so the functions are read out of
the installed files. Install them with `pip install --no-deps frechet-audio-distance fadtk kadtk`.
"""

from __future__ import annotations
import __future__

import ast
import importlib.util
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch
from numpy.lib.scimath import sqrt as scisqrt
from scipy import linalg

FRECHET_PACKAGES = ("frechet_audio_distance", "fadtk")


def official_names(package: str, file: str, names: Sequence[str]) -> dict[str, Any]:
    """Functions, methods and constants called `names` of a file of an installed package.

    Raises:
        ImportError: the package is not installed, or has no such names.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"no {package}: pip install --no-deps {package.replace('_', '-')}")
    tree = ast.parse((Path(spec.submodule_search_locations[0]) / file).read_text())
    module = ast.Module(body=[node for node in ast.walk(tree) if _name(node) in names], type_ignores=[])
    values: dict[str, Any] = {"np": np, "torch": torch, "linalg": linalg, "scisqrt": scisqrt, "Path": Path}
    values |= {"Union": Union, "log": logging.getLogger(package)}
    exec(compile(module, file, "exec", flags=__future__.annotations.compiler_flag), values)
    if lacking := [name for name in names if name not in values]:
        raise ImportError(f"{package}/{file} has no {lacking[0]}: another version than this file was written for")
    return {name: values[name] for name in names}


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def official_parts(package: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The package's own (embeddings [n, D] -> mean, covariance) and (both sides' mean, covariance -> distance)."""
    if package == "fadtk":
        found = official_names(package, "fad.py", ("calc_embd_statistics", "calc_frechet_distance"))
        return found["calc_embd_statistics"], found["calc_frechet_distance"]
    found = official_names(package, "fad.py", ("calculate_embd_statistics", "calculate_frechet_distance"))
    # methods that do not look at their object
    return partial(found["calculate_embd_statistics"], None), partial(found["calculate_frechet_distance"], None)


def official_frechet(package: str, reference: np.ndarray, generated: np.ndarray) -> float:
    """The Fréchet distance of embeddings [n, D] and [m, D] by one of `FRECHET_PACKAGES`."""
    gather, distance = official_parts(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of sqrtm's `disp`, which scipy 1.18 takes away
        return float(np.real(distance(*gather(reference), *gather(generated))))


def official_kernel(first: np.ndarray, second: np.ndarray) -> float:
    """KAD of embeddings [n, D] and [m, D] by `kadtk` in float64, with the bandwidth of the second set."""
    names = ("SCALE_FACTOR", "median_pairwise_distance", "calc_kernel_audio_distance")
    distance = official_names("kadtk", "kad.py", names)["calc_kernel_audio_distance"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a tensor made of a tensor
        sides = torch.from_numpy(first), torch.from_numpy(second)
        return float(distance(*sides, (None, None), "cpu", precision=torch.float64))
