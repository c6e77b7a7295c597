from pathlib import Path

import pytest
from compared_sets import three_sets


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path, Path]:
    return three_sets(tmp_path)
