"""The one place that reads the environment."""

import os
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lfexp_mcp.errors import CredentialsError, UsageError

CLOUD_URL = "https://cloud.langfuse.com"


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _whole_path(path: Path) -> Path:
    """Make a path mean the same in every process, whatever folder a task changes to."""
    return _expanded(path).resolve()


def _interpreter(path: Path) -> Path:
    """Make a path whole and leave a command; what a link points to is another interpreter than a venv's link to it."""
    return _expanded(path).absolute() if len(path.parts) > 1 else path


class Settings(BaseSettings):
    """What the environment says; an empty variable counts as unset."""

    # With the prefix, no field is read from a variable of its bare name: `HOME` is the user's, not ours.
    model_config = SettingsConfigDict(
        env_prefix="LFEXP_", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    langfuse_public_key: str | None = Field(default=None, validation_alias="LANGFUSE_PUBLIC_KEY")
    langfuse_secret_key: SecretStr | None = Field(default=None, validation_alias="LANGFUSE_SECRET_KEY")
    langfuse_url: str = Field(default=CLOUD_URL, validation_alias=AliasChoices("LANGFUSE_BASE_URL", "LANGFUSE_HOST"))
    """Where Langfuse is; used only when both keys are set."""

    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_base_url: str | None = Field(default=None, validation_alias="ANTHROPIC_BASE_URL")

    http_token: SecretStr | None = None
    """What callers of the HTTP server have to send; unset: one is made at each start."""

    judge_provider: Literal["openai", "anthropic"] | None = None
    """Provider of judges whose prompt config names none; unset: the one whose key is set."""
    judge_model: str | None = None
    """Model of judges whose prompt config names none; unset: the provider's default in `judges`."""
    judge_concurrency: int = Field(default=10, ge=1)
    """Calls to one provider that may be under way at once."""

    home: Annotated[Path, AfterValidator(_whole_path)] = Field(
        default_factory=lambda: user_data_path("lfexp-mcp", appauthor=False)
    )
    """Folder of the embedded store and of the runs on disk, private to the user."""
    python: Annotated[Path, AfterValidator(_interpreter)] | None = None
    """Interpreter that runs task scripts, as a path or as a command; unset: the one that runs lfexp-mcp."""
    keep_runs: int = Field(default=200, ge=1)
    """How many finished runs keep their folder on disk; the oldest go first."""

    delivery_patience: float = Field(default=60.0, ge=0)
    """Seconds that the end of a run waits for a Langfuse that takes nothing, before it leaves the rest to a resume."""
    visibility_delay: float = Field(default=10.0, ge=0)
    """Seconds that Langfuse may take to show what it has stored; what is not to be seen then is sent again."""
    cancel_grace: float = Field(default=10.0, ge=0)
    """Seconds that items at work may go on after a cancel."""

    embedded_store: bool = False
    """Set by us for a worker: the keys are the embedded store's, which the worker may have to start again."""

    @property
    def embedded(self) -> bool:
        """Whether the embedded store serves, since no keys of another Langfuse are set.

        Raises:
            CredentialsError: Only one of the two keys is set.
        """
        if (self.langfuse_public_key is None) != (self.langfuse_secret_key is None):
            missing = "LANGFUSE_SECRET_KEY" if self.langfuse_public_key else "LANGFUSE_PUBLIC_KEY"
            raise CredentialsError(
                f"Only one of the two Langfuse keys is set: {missing} is missing. Set it too, "
                "or unset both to work on the embedded store."
            )
        return self.embedded_store or self.langfuse_public_key is None

    @property
    def store_folder(self) -> Path:
        """Folder of the embedded store."""
        return self.home / "store"

    @property
    def runs_folder(self) -> Path:
        """Folder that keeps the runs on disk."""
        return self.home / "runs"


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        UsageError: A variable has a value that it cannot have.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{_variable(str(each['loc'][0]))}: {each['msg']}" for each in error.errors(include_input=False)
        )
        raise UsageError(f"The environment cannot be used. Correct or unset: {wrong}.") from None


def _variable(place: str) -> str:
    """Return the variable of a field, which errors name by its alias or by the field itself."""
    return place if place.isupper() else f"LFEXP_{place.upper()}"


def process_environment(changes: dict[str, str]) -> dict[str, str]:
    """Return the environment for a process of ours: this one's, with changes.

    Args:
        changes: Variables to set. Keys of Langfuse reach a worker this way, and are neither on disk nor in arguments.
    """
    return {**os.environ, **changes}
