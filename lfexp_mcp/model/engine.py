"""Which engine runs the items of a run, and how."""

import json
import math
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

EngineName = Literal["local", "ray"]

_CREDENTIALS = re.compile(r"://[^/\s\"]*@")
_OURS = {
    "env_vars": "name variables in engine_options.env_vars; nodes get their values without a trace in Ray's records",
    "working_dir": "pass engine_options.working_dir",
}
"""Keys of Ray's runtime environment that are options of their own, and how they are given."""
MIN_AMOUNT = 0.0001
"""The least of a resource that Ray knows, but 0."""
_MAX_PORT = 65535


def cluster_address(given: str) -> str:
    """Return the address of a cluster as it is given.

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"[\w.\-\[\]:]+:(\d{1,5})", given)
    if given != "auto" and (found is None or int(found[1]) > _MAX_PORT):
        raise ValueError("pass `auto`, or host and port of the cluster's head such as 10.0.0.1:6379")
    return given


class EngineOptions(BaseModel):
    """Where Ray is, and what of it each item takes.

    An item that asks for no resources shares one process per node with others, as items of a local run do. So do those
    of an async task that ask for CPUs alone; their process has the CPUs of all of them. Any other has a process of its
    own with these resources; see https://docs.ray.io/en/latest/ray-core/scheduling/resources.html.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    address: str | None = Field(default=None, min_length=1)
    """Of a cluster, such as `auto` or `10.0.0.1:6379`; None for one on this machine that lives as long as the run."""
    num_cpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    num_gpus: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    resources: dict[str, float] = Field(default_factory=dict)
    """`memory` in bytes, and those of a custom kind, by name."""
    working_dir: Path | None = None
    """The folder that the nodes get; None for the script's."""
    runtime_env: dict[str, JsonValue] = Field(default_factory=dict)
    """What else the nodes need, such as `{"pip": ["torch"]}`."""
    env_vars: tuple[str, ...] = ()
    """Names of environment variables that the scripts need on the nodes."""

    @field_validator("num_cpus", "num_gpus", "resources", mode="before")
    @classmethod
    def _are_numbers(cls, given: object) -> object:
        values = given.values() if isinstance(given, dict) else (given,)
        if any(isinstance(value, bool | str) for value in values):
            raise ValueError("it must be a number")
        return given

    @field_validator("num_cpus", "num_gpus")
    @classmethod
    def _is_no_less_than_ray_knows(cls, given: float | None) -> float | None:
        if given is not None and 0 < given < MIN_AMOUNT:
            raise ValueError(f"it must be 0, or at least {MIN_AMOUNT}")
        return given

    @field_validator("num_gpus")
    @classmethod
    def _is_a_share_or_whole(cls, given: float | None) -> float | None:
        if given is not None and given > 1 and given != int(given):
            raise ValueError("Ray gives an item a share of one GPU, or whole ones: pass 0.5, 1 or 2, not 1.5")
        return given

    @field_validator("resources")
    @classmethod
    def _are_amounts(cls, given: dict[str, float]) -> dict[str, float]:
        wrong = [amount for amount in given.values() if not (amount == 0 or MIN_AMOUNT <= amount < math.inf)]
        if wrong or {"CPU", "GPU", "object_store_memory"} & given.keys():
            raise ValueError(
                f"pass amounts of 0, or of {MIN_AMOUNT} or more, by name, and CPUs and GPUs as num_cpus and num_gpus"
            )
        return given

    @field_validator("address")
    @classmethod
    def _is_of_a_cluster(cls, given: str | None) -> str | None:
        return given if given is None else cluster_address(given)

    @field_validator("runtime_env")
    @classmethod
    def _holds_no_secret(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for key, instead in _OURS.items():
            if key in given:
                raise ValueError(f"{key} is not for runtime_env, which Ray shows to everyone: {instead}")
        if _CREDENTIALS.search(json.dumps(given)):
            raise ValueError("it has a URL with credentials, which Ray shows to everyone: configure them on the nodes")
        return given

    @property
    def asked_resources(self) -> dict[str, float]:
        """What an item takes, under Ray's names; empty for one that shares a process with others."""
        asked = {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}
        return {name: amount for name, amount in asked.items() if amount is not None}
