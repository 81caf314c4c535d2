"""Confirmations: runs over the held-out items of a dataset, for the verdicts of `confirm_run`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

MAX_NAME_CHARS = 150
"""Of a run's name in that of its confirmation."""
_ALL_MODULES = "modules"
"""In the code of a run, for the modules that are not listed; its presence tells that modules are known."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a run over held-out items is for, as Langfuse keeps it in the metadata of its experiment."""

    of: str
    """The run whose code it runs again."""
    code: str
    """Digest of that code, see `digest_of_code`: another name of the same code is not another candidate."""
    judged_by: str
    """What gives the score, with its version."""
    items: str
    """Digest of the held-out items with their contents, never shown."""
    baseline: str | None = None
    """The run that it is compared with; None for the run of a baseline."""
    against: str | None = None
    """Digest of the baseline's code; None for the run of a baseline. Those with one are the looks at the holdout."""
    score: str | None = None
    """The score that the verdict is about."""
    min_delta: float | None = None
    """The smallest difference of interest, stated before the items were run."""

    @property
    def identity(self) -> tuple[str | None, ...]:
        """What tells it from others: the same again is the same look. A baseline's run is of the items too."""
        asked = self.items if self.against is None else self.score
        return self.code, self.against, asked, self.judged_by

    @property
    def run_name(self) -> str:
        """The name of the run, the same whenever and wherever it is asked for."""
        digest = hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()[:10]
        return f"confirm-{self.of[:MAX_NAME_CHARS]}-{digest}"


def digest_of_code(code: Mapping[str, str]) -> str:
    """Digest what is known of the code of a run."""
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:16]


def module_versions(hashes: Mapping[str, str], most: int) -> dict[str, str]:
    """State the versions of a run's modules, each by the beginning of its hash; beyond `most`, of the others together.

    Args:
        hashes: SHA-256 of the source by the module's name.
        most: Modules listed by name.
    """
    named = sorted(hashes.items())
    listed = {name: digest[:12] for name, digest in named[:most]}
    return {**listed, "": digest_of_code(dict(named[most:]))[:12]}


def changed_code(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """List what of a run's code is another one now, such as `task.py` or `module helpers`.

    Args:
        before: The code as measured; see `Provenance.code`. Runs of earlier versions did not record their modules.
        after: The code that is to run.
    """
    knows_modules = _ALL_MODULES in before
    names = [name for name in sorted(before.keys() | after.keys()) if knows_modules or not name.startswith("module")]
    return [name for name in names if before.get(name) != after.get(name)]
