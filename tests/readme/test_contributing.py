"""CONTRIBUTING.md is held to the code that it maps."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w.]+/[\w/.]+|\w+\.(?:md|py|toml))`", TEXT)
PACKAGES = {path.parent.name for path in (ROOT / "lfexp_mcp").glob("*/__init__.py")}


def test_every_package_is_on_the_map_and_no_other() -> None:
    table = TEXT.partition("| package |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == PACKAGES - {"demo"}


def test_the_files_that_it_names_exist() -> None:
    assert NAMED
    for name in NAMED:
        assert (ROOT / name).exists() or (ROOT / "lfexp_mcp" / name).exists(), name
