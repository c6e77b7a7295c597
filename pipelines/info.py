"""The contents of a dataset, as `latentune info` shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DatasetError
from .data.shards.columns import ItemColumns
from .data.shards.embeddings import list_stores
from .data.shards.read import LatentDataset
from .data.shards.verify import compare_with_source, verify_dataset
from .measure.codecs.figures.tokens import FEW_TOKENS, analyse_dataset, too_few_tokens

if TYPE_CHECKING:
    from rich.console import Group

RATES = {"entropy": "entropy", "huffman": "Huffman code", "packed": "whole bits"}  # of the token stream, lowest first


def dataset_info(
    path: str | Path,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
    *,
    codebook: bool = False,
    against: str | Path | None = None,
) -> dict[str, Any]:
    """Returns facts about a shard dataset, ready for JSON.

    Args:
        path: of the dataset.
        verify: read everything and check it against the recorded hashes; the findings are in `problems`.
        progress: called with the number of shards checked and of all shards while verifying.
        against: the source of the dataset; differences in the content of files are in `problems`.
        codebook: count all tokens; how well they use their codebooks is in `token_analysis`.

    Raises:
        DatasetError: the path is not a dataset, a shard is missing or corrupt (it is named, with what to do), or the
            dataset has no tokens to count.
    """
    dataset = LatentDataset(path)
    spec, info = dataset.spec, dataset.info
    columns = _columns(dataset, verify)
    durations_s = columns.numbers("duration_s")
    failed = dataset.path / "failed.jsonl"
    facts = {
        "path": str(dataset.path),
        "complete": dataset.complete,
        "num_items": len(dataset),
        "num_items_planned": info["plan"]["num_items"],
        "num_failed": failed.read_bytes().count(b"\n") if failed.exists() else None,
        "hours": float(durations_s.sum()) / 3600,
        "shortest_s": float(durations_s.min()) if len(durations_s) else None,
        "longest_s": float(durations_s.max()) if len(durations_s) else None,
        "num_shards": len(dataset.shards),
        "num_shards_planned": info["plan"]["num_shards"],
        "megabytes": sum(shard.path.stat().st_size for shard in dataset.shards) / 1e6,
        "streams": list(dataset.streams),
        "latents": f"{spec.latent_dim} channels at {spec.latent_rate_hz:.2f} Hz"
        if "latents" in dataset.streams
        else None,
        "tokens": _token_text(dataset) if "tokens" in dataset.streams else None,
        "latent_mean_range": _extent(dataset.latent_mean),
        "latent_std_range": _extent(dataset.latent_std),
        "tokenizer": {key: info["tokenizer"][key] for key in ("source", "class", "licence", "fingerprint")},
        "sample_rate": spec.sample_rate,
        "channels": spec.channels,
        "metadata_columns": sorted(columns.metadata),
        "embeddings": list_stores(dataset.path),
        "settings": info["settings"],
        "source": info["source"]["path"],
    }
    if codebook:
        facts["token_analysis"] = analyse_dataset(dataset).to_dict()
    if verify:
        facts["problems"] = verify_dataset(path, progress)
    if against is not None:
        facts["problems"] = [*facts.get("problems", ()), *compare_with_source(path, against)]
    return facts


def _columns(dataset: LatentDataset, verify: bool) -> ItemColumns:
    """Returns the columns of the items; read from the shards where a broken index is a finding and no error."""
    try:
        return dataset.columns
    except DatasetError:
        if not verify:
            raise
        return ItemColumns.of_shards(dataset.shards)


def render(facts: dict[str, Any]) -> Group:
    """Returns the facts of `dataset_info` as tables for a rich console."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(facts["path"]), show_header=False, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(facts).items():
        table.add_row(name, Text(value))
    parts: list[Any] = [table]
    if "token_analysis" in facts:
        parts += _token_tables(facts["token_analysis"])
    problems = facts.get("problems")
    if problems == []:
        parts.append(Text("verified: no problems found", style="green"))
    return Group(*parts, *(Text(f"problem: {problem}", style="red") for problem in problems or ()))


def _token_tables(analysis: dict[str, Any]) -> list[Any]:
    """Returns a table of the codebooks, one of their digits, and the bit rates that follow."""
    from rich.table import Table
    from rich.text import Text

    def usage(figures: dict[str, Any]) -> tuple[str, ...]:
        used = f"{figures['num_used']} of {figures['size']} ({figures['used_share']:.2%})"
        return used, f"{figures['entropy_bits']:.3f}", f"{figures['normalised_entropy']:.3f}"

    common = ("used", "entropy, bits", "normalized entropy")
    books = Table("codebook", "tokens", *common, "Huffman, bits", title="codebooks", title_justify="left", box=None)
    digits = Table("codebook", "digit", *common, title="digits", title_justify="left", box=None)
    for q, book in enumerate(analysis["codebooks"]):
        books.add_row(str(q), str(book["num_tokens"]), *usage(book), f"{book['huffman_bits']:.3f}")
        for k, digit in enumerate(book["digits"]):
            digits.add_row(str(q), str(k), *usage(digit))
    rates = [f"{analysis[f'{name}_bitrate_bps']:.1f} bit/s by {text}" for name, text in RATES.items()]
    parts: list[Any] = [books, digits, Text("bit rate: " + ", ".join(rates))]
    if too_few_tokens(analysis):
        parts.append(Text(FEW_TOKENS, style="yellow"))
    return parts


def _lines(facts: dict[str, Any]) -> dict[str, str]:
    codec = facts["tokenizer"]
    planned = "" if facts["complete"] else f" of {facts['num_items_planned']} planned: run encode again to finish it"
    length = f", {facts['shortest_s']:.2f} to {facts['longest_s']:.2f} s each" if facts["num_items"] else ""
    lines = {
        "state": "complete" if facts["complete"] else "not complete",
        "items": f"{facts['num_items']}{planned}",
        "left out": "not known yet" if facts["num_failed"] is None else f"{facts['num_failed']} (failed.jsonl)",
        "audio": f"{facts['hours']:.3f} h{length}",
        "shards": f"{facts['num_shards']} of {facts['num_shards_planned']}, {facts['megabytes']:.2f} MB",
        "tokenizer": f"{codec['source']} ({codec['class']}, {codec['fingerprint'][:12]}), licence {codec['licence']}",
        "codec audio": f"{facts['sample_rate']} Hz, {facts['channels']} channel(s)",
    }
    if facts["latents"]:
        lines["latents"] = f"{facts['latents']}, {facts['settings']['dtype']}"
        if facts["latent_std_range"]:
            mean, std = facts["latent_mean_range"], facts["latent_std_range"]
            lines["latent range"] = f"means {mean[0]:.3f} to {mean[1]:.3f}, stds {std[0]:.3f} to {std[1]:.3f}"
    if facts["tokens"]:
        lines["tokens"] = facts["tokens"]
    lines["metadata"] = ", ".join(facts["metadata_columns"]) or "none"
    for store in facts["embeddings"]:
        lines[f"embeddings of {store['column']}"] = (
            f"{store['num_entries']} of width {store['dim']} by {store['source']} ({store['weights_sha256'][:12]})"
        )
    lines["source"] = facts["source"]
    return lines


def _token_text(dataset: LatentDataset) -> str:
    spec = dataset.spec
    sizes, rate = ", ".join(map(str, spec.codebook_sizes)), f"{spec.tokens_per_frame} x {spec.token_rate_hz:.2f} Hz"
    bits = f"{spec.bitrate_bps / 1e3:.2f} kbit/s ({spec.packed_bitrate_bps / 1e3:.2f} in whole bits)"
    return f"{rate}, codebooks of {sizes}, {bits}"


def _extent(values: tuple[float, ...]) -> list[float] | None:
    return [min(values), max(values)] if values else None
