"""Looks at the files of a source, in order and from several threads: their states and lengths, or why they fail."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import NamedTuple

from ....core.errors import AudioError
from ....core.read_ahead import read_ahead
from ..audio.item import AudioItem
from ..audio.read import AudioInfo
from .earlier import EarlierPlan
from .ids import printable, relative_reason
from .settings import ShardSettings
from .source_state import FileState

FILES_AT_ONCE, GROUPS_AHEAD = 32, 4  # files of a thread's task, and tasks ahead of the caller
FILES_KNOWN = 65536  # whose facts are kept, for a source with many segments of a file


class ProbedFile(NamedTuple):
    """A file or segment of the source."""

    item: AudioItem
    state: FileState
    before: int = -1  # number of the same file in the earlier plan; -1: it is new, or changed
    first: int = 0  # sample of the file that the segment begins with
    num_samples: int = 0  # of the segment, at the rate of the file
    sample_rate: int = 1  # Hz
    total_s: float = 0.0  # of the whole file
    reason: str = ""  # why it is left out


def probe_files(
    files: Iterable[AudioItem], settings: ShardSettings, earlier: EarlierPlan | None, num_threads: int
) -> Iterator[ProbedFile]:
    """Yields all files in order.

    Args:
        files: of the source.
        settings: say how short a file may be.
        earlier: plan of the dataset, whose files need not be probed again; their content is compared where the time of
            modification changed.
        num_threads: that look at files.
    """
    prober = _Prober(settings, earlier)
    upcoming = ((file, -1 if earlier is None else earlier.number_of(file)) for file in files)
    groups = iter(lambda: list(islice(upcoming, FILES_AT_ONCE)), [])
    ahead = GROUPS_AHEAD * num_threads
    with closing(read_ahead(prober.probe_all, groups, num_threads=num_threads, num_ahead=ahead)) as probed:
        for group in probed:
            yield from group


class _Prober:
    """Looks at files; those with several items are probed once."""

    def __init__(self, settings: ShardSettings, earlier: EarlierPlan | None):
        self._settings, self._earlier = settings, earlier
        self._known: OrderedDict[str, AudioInfo | AudioError] = OrderedDict()
        self._lock = threading.Lock()

    def probe_all(self, files: list[tuple[AudioItem, int]]) -> list[ProbedFile]:
        return [self._probe(file, number) for file, number in files]

    def _probe(self, file: AudioItem, number: int) -> ProbedFile:
        state = FileState.of(file)
        if self._earlier is not None and number >= 0 and self._earlier.is_same(number, file, state):
            return ProbedFile(file, state, before=number)
        try:
            info = self._info(file)
            start_s, duration_s = file.part(info.duration_s)
            if duration_s < self._settings.min_duration_s:
                raise AudioError(f"{duration_s:.3f} s is shorter than min_duration_s {self._settings.min_duration_s}")
        except AudioError as error:
            return ProbedFile(file, state, reason=relative_reason(error, file.path, file.name))
        first = round(start_s * info.sample_rate)
        num_samples = min(info.num_samples - first, max(1, round(duration_s * info.sample_rate)))
        return ProbedFile(
            file,
            state,
            first=first,
            num_samples=num_samples,
            sample_rate=info.sample_rate,
            total_s=info.duration_s,
        )

    def _info(self, file: AudioItem) -> AudioInfo:
        if file.problem:
            raise AudioError(file.problem)
        if printable(file.name) != file.name:
            raise AudioError("its name is not valid UTF-8: rename it")
        found = self._known.get(file.name)
        if found is None:
            try:
                found = file.probe()
            except AudioError as error:
                found = error
            with self._lock:
                self._known[file.name] = found
                if len(self._known) > FILES_KNOWN:
                    self._known.popitem(last=False)
        if isinstance(found, AudioError):
            raise found
        return found
