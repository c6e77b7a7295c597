"""One table of results for everything that is measured, and its renderings: terminal, CSV, JSON and HTML.

Whoever measures fills a `ResultsTable` (table.py) with rows of (system, file, figure, value, weight):

    table = ResultsTable(resampling=Resampling(confidence=0.9))
    table.figures["mel_distance"] = FigureFacts(better="lower", title="mel distance")
    table.add("latents", "a.wav", "mel_distance", 0.8)
    table.add("latents", "b.wav", "mel_distance", None, note="the original is digital silence")
    table.add_set("latents", "fad_musicnn", SetFigure(value=3.1, of_files=distance, names=["a.wav"]))

and asks it for figures with their intervals:

    table.estimate("latents", "mel_distance")            # Estimate: value, low, high, num_values, num_missing, note
    table.estimate("latents", "mel_distance", files={"a.wav"})   # over some files, such as those of one length
    table.difference("latents", "tokens", "mel_distance")        # Difference: ..., p_value, paired; common=True
    table.undefined, table.files, table.value

The table is long: what would be further columns are facts of a system (`table.systems["gray, p = 0.01"] = {"p":
0.01}`), further figures (`seconds`, and texts such as a transcript) or, with `nested=True`, repeated rows of one
system, file and figure, whose intervals are drawn over files and then over the repeats of each. Only figures listed in
`table.figures` are summarised. `FigureFacts.bounds` cut centred intervals, `SetFigure.of_files` takes places of files.

| file | concept |
|---|---|
| rows.py | `Row`, `FigureFacts`, `SetFigure` |
| table.py | `ResultsTable` |
| samples.py | a figure as a function of its files: `Sample`, `Resampling`, `interval`, `difference` |
| means.py | the mean of rows as such a function, weighted or over repeated draws |
| intervals.py | the bootstrap, through scipy.stats.bootstrap: `resample`, `centred_interval`, `p_value` |
| pairing.py | counterparts of two lists of files: `pair_names`, `stem` |
| export.py | `records` (a row per system and file), `summary_records` (a row per system), `table_dict`, `csv_text` |
| grid.py | tables to read: `Grid`, `comparison`, `detail_lines`, `note_lines`, `interval_text`, `heading` |
| wording.py | sentences about files: `few`, `silence_warning` |
| terminal.py | grids with rich: `terminal_view`, `TerminalTable`, `terminal_text` |
| page.py, audio.py, plots.py | one HTML file: `results_page` (any measurement), `Report` (any page), `AudioRow` |

The last line's modules need torch and are imported from where they are, all else from here, without torch.
"""

from .export import csv_text, records, summary_records, table_dict
from .grid import Grid, comparison, detail_lines, heading, interval_text, note_lines
from .pairing import Pairing, pair_names, stem
from .rows import FigureFacts, Row, SetFigure
from .samples import MIN_FILES, Difference, Estimate, Resampling, Sample, difference, interval
from .table import ResultsTable
from .terminal import TerminalTable, terminal_text, terminal_view
from .wording import few, silence_warning

__all__ = [
    "MIN_FILES",
    "Difference",
    "Estimate",
    "FigureFacts",
    "Grid",
    "Pairing",
    "Resampling",
    "ResultsTable",
    "Row",
    "Sample",
    "SetFigure",
    "TerminalTable",
    "comparison",
    "csv_text",
    "detail_lines",
    "difference",
    "few",
    "heading",
    "interval",
    "interval_text",
    "note_lines",
    "pair_names",
    "records",
    "silence_warning",
    "stem",
    "summary_records",
    "table_dict",
    "terminal_text",
    "terminal_view",
]
