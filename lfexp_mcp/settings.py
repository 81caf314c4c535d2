"""The settings, from environment variables."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lfexp_mcp.environment import process_environment
from lfexp_mcp.errors import CredentialsError, UsageError

CLOUD_URL = "https://cloud.langfuse.com"


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _whole_path(path: Path) -> Path:
    """Make a path absolute, since a task may change the working folder."""
    return _expanded(path).resolve()


def _interpreter(path: Path) -> Path:
    """Make a path absolute without resolving links, on which a venv depends; leave a command as it is."""
    return _expanded(path).absolute() if len(path.parts) > 1 else path


def _url(url: str) -> str:
    """Check a URL of this server: it must name a host, and nothing that a client would not send back."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("it must be a URL such as https://example.com/mcp")
    if parts.query or parts.fragment:
        raise ValueError("it must have no query and no fragment")
    return url


def _trusted_url(url: str) -> str:
    """Check a URL that tells whom to trust, which over plain HTTP anyone on the way could change."""
    if urlsplit(_url(url)).scheme != "https" and urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("it must begin with https://, except on this machine")
    return url


def _split_folders(folders: object) -> object:
    return [each for each in folders.split(os.pathsep) if each.strip()] if isinstance(folders, str) else folders


def _split_words(words: object) -> object:
    return words.split() if isinstance(words, str) else words


LogFormat = Literal["text", "json"]


class Settings(BaseSettings):
    """The settings of this process, from environment variables; an empty variable counts as unset."""

    # Without the prefix, fields would be read from variables such as `HOME`.
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
    """Bearer token that callers of the HTTP server may send; by default one is made at each start without OAuth."""
    http_url: Annotated[str, AfterValidator(_url)] | None = None
    """URL by which callers reach the HTTP server, if not that of loopback; also its OAuth resource."""
    oauth_issuer: Annotated[str, AfterValidator(_trusted_url)] | None = None
    """Authorization server whose access tokens the HTTP server accepts."""
    oauth_jwks_url: Annotated[str, AfterValidator(_trusted_url)] | None = None
    """Where the issuer publishes its keys: the `jwks_uri` of its metadata."""
    oauth_audience: str | None = None
    """What tokens must name as their audience; by default the server's URL."""
    oauth_scopes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_words)] = ()
    """Scopes that a token must have, all of them."""
    log_format: LogFormat = "text"
    """Of the HTTP server's log on stderr."""
    script_folders: Annotated[
        tuple[Annotated[Path, AfterValidator(_whole_path)], ...] | None, NoDecode, BeforeValidator(_split_folders)
    ] = None
    """Folders from which callers of the HTTP server may name files; by default none."""
    caller_keys: Literal["server", "headers"] | Annotated[Path, AfterValidator(_whole_path)] = "server"
    """Whose Langfuse keys a request over HTTP works with: the server's, those in its headers, or those that a JSON file
    has for the subject of its access token."""

    judge_provider: Literal["openai", "anthropic"] | None = None
    """Provider of judges whose prompt config names none; by default the one whose key is set."""
    judge_model: str | None = None
    """Model of judges whose prompt config names none; by default that of the provider in `judges`."""
    judge_concurrency: int = Field(default=10, ge=1)
    """Maximum concurrent calls to one provider."""

    confirm_cost_above: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """USD; a call that may spend more on models needs the user's consent. By default none does."""
    confirm_patience: float = Field(default=300.0, gt=0)
    """Seconds that a question waits for the user's answer, where the call waits with it."""

    home: Annotated[Path, AfterValidator(_whole_path)] = Field(
        default_factory=lambda: user_data_path("lfexp-mcp", appauthor=False)
    )
    """Folder of the embedded store and of the runs on disk, private to the user."""
    python: Annotated[Path, AfterValidator(_interpreter)] | None = None
    """Interpreter that runs task scripts, as a path or a command; by default the one that runs lfexp-mcp."""
    ray_address: str | None = None
    """Ray cluster of runs with engine `ray` that name none; over HTTP the only one."""
    keep_runs: int = Field(default=200, ge=1)
    """How many finished runs keep their folder on disk; the oldest are deleted first."""

    delivery_patience: float = Field(default=60.0, ge=0)
    """Seconds that a run waits at its end for a Langfuse that accepts nothing; what is left is sent by a resume."""
    visibility_delay: float = Field(default=10.0, ge=0)
    """Seconds that Langfuse may take to show what it has stored; what it does not show by then is sent again."""
    cancel_grace: float = Field(default=10.0, ge=0)
    """Seconds that running items may continue after a cancel."""

    embedded_store: bool = False
    """Set for workers: the keys are those of the embedded store, which the worker may have to start again."""

    @property
    def embedded(self) -> bool:
        """Whether the embedded store is used, because no keys of a Langfuse project are set.

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

    @property
    def holdouts_folder(self) -> Path:
        """Folder of the datasets' holdouts that this machine has seen."""
        return self.home / "holdouts"


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        UsageError: A variable has an invalid value.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{_variable(str(each['loc'][0]))}: {each['msg']}" for each in error.errors(include_input=False)
        )
        raise UsageError(f"Invalid environment variables. Correct or unset: {wrong}.") from None


def _variable(place: str) -> str:
    """Return the variable of a field that an error names by its alias or its name."""
    return place if place.isupper() else f"LFEXP_{place.upper()}"


REPLAYED_KEY = "replayed"
"""Stands in for a provider's key, which SDKs ask for."""


def replay_settings(
    settings: Settings, providers: Collection[str], judge_provider: str | None, judge_model: str | None
) -> Settings:
    """Return the settings of a replay: models are chosen as they were, and no key is known.

    Args:
        providers: Whose keys were set when the calls were recorded.
        judge_provider: The setting then.
        judge_model: The setting then.
    """
    keys = {name: SecretStr(REPLAYED_KEY) if name in providers else None for name in ("openai", "anthropic")}
    changes = {f"{name}_api_key": key for name, key in keys.items()}
    return settings.model_copy(update={**changes, "judge_provider": judge_provider, "judge_model": judge_model})


_UNUSED_OVER_STDIO = {
    "LFEXP_CALLER_KEYS",
    "LFEXP_EMBEDDED_STORE",
    "LFEXP_HTTP_TOKEN",
    "LFEXP_HTTP_URL",
    "LFEXP_OAUTH_AUDIENCE",
    "LFEXP_OAUTH_ISSUER",
    "LFEXP_OAUTH_JWKS_URL",
    "LFEXP_OAUTH_SCOPES",
    "LFEXP_SCRIPT_FOLDERS",
}


def server_variables(settings: Settings) -> dict[str, str]:
    """Return the variables set here that a server over stdio needs, as a client is to set them for it.

    Args:
        settings: Those of this process; paths are given whole, since a client starts its servers in another folder.
    """
    environment = process_environment({})
    names = {name for name in environment if name.startswith("LANGFUSE_")}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        known = alias.choices if isinstance(alias, AliasChoices) else (alias or f"LFEXP_{field.upper()}",)
        names |= {str(each) for each in known}
    found = {name: environment.get(name, "") for name in sorted(names - _UNUSED_OVER_STDIO)}
    whole = {"LFEXP_HOME": str(settings.home), "LFEXP_PYTHON": str(settings.python)}
    return {name: whole.get(name, value) for name, value in found.items() if value}
