import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lfexp_mcp.scripts import modules

WriteScript = Callable[..., Path]


@pytest.fixture
def write_script(tmp_path: Path) -> Iterator[WriteScript]:
    """Write a script; what it registers in `sys.modules` is gone after the test."""
    before = set(sys.modules)

    def write(source: str, name: str = "my_script.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    yield write
    for name in set(sys.modules) - before:
        if sys.modules[name] in modules._scripts.values():
            del sys.modules[name]
