"""A task that takes as many seconds as the run's params say."""

import time


def task(*, item: object, params: dict[str, float], **_: object) -> str:
    """Sleep."""
    time.sleep(params["seconds"])
    return "done"
