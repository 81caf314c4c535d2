"""Imports of the user's own modules read their source, never a compiled copy.

Python takes a compiled copy for the source's when second and size agree, so that a module edited twice within a second
is imported as it was before the edit.
"""

import sys
import sysconfig
from collections.abc import Callable
from importlib.abc import PathEntryFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Names of the folders that packages are installed to; nobody edits there between two runs."""


class FreshLoader(SourceFileLoader):
    """Compiles the source at each import."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of a module as it is on disk now."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def import_from_source() -> None:
    """From now on, import modules from their sources, but for those of Python and of installed packages."""
    library = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
    find: Callable[[str], PathEntryFinder] = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES), (FreshLoader, SOURCE_SUFFIXES)
    )

    def hook(entry: str) -> PathEntryFinder:
        folder = Path(entry or ".").resolve()
        if INSTALLED.intersection(folder.parts) or library.intersection((folder, *folder.parents)):
            raise ImportError
        return find(entry)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
