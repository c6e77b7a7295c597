"""A column of values as Arrow has it, whatever their types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Column:
    """The values of a column, or of a part of one."""

    array: Any  # pyarrow.Array
    is_json: bool = False  # values of several types, or of types that parquet has no column for, as JSON text

    @classmethod
    def of(cls, values: Sequence[Any]) -> Column:
        """Returns values as a column of one type where they have one."""
        import pyarrow

        kinds = {type(value) for value in values} - {type(None)}
        if _is_plain(kinds) or (kinds == {list} and _is_plain({type(one) for some in values for one in some or ()})):
            try:
                return cls(pyarrow.array(values))
            except (pyarrow.ArrowException, OverflowError):
                pass  # integers beyond 64 bits, or beyond what a float holds exactly
        return cls(json_texts(values), is_json=True)

    def values(self) -> list[Any]:
        """Returns the values as they were given."""
        found: list[Any] = self.array.to_pylist()
        return [None if text is None else json.loads(text) for text in found] if self.is_json else found


def _is_plain(kinds: set[type]) -> bool:
    kinds = kinds - {type(None)}
    return kinds <= {int, float} or kinds in ({str}, {bool})


def json_texts(values: Iterable[Any]) -> pyarrow.Array:
    """Returns each value but None as JSON text."""
    import pyarrow

    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pyarrow.array(texts, pyarrow.string())
