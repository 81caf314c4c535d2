"""Humans at work: annotation scores, comments and queues, put into Langfuse over its HTTP interface."""

import secrets
from collections.abc import Sequence

import httpx
from pydantic import JsonValue

from lfexp_mcp.settings import Settings


class Humans:
    """What people do in Langfuse's pages."""

    def __init__(self, settings: Settings) -> None:
        assert settings.langfuse_public_key is not None
        assert settings.langfuse_secret_key is not None
        keys = (settings.langfuse_public_key, settings.langfuse_secret_key.get_secret_value())
        self._http = httpx.Client(base_url=settings.langfuse_url, auth=keys)

    def close(self) -> None:
        self._http.close()

    def config(self, name: str, low: float, high: float) -> str:
        body: dict[str, JsonValue] = {"name": name, "dataType": "NUMERIC", "minValue": low, "maxValue": high}
        return str(self._post("/api/public/score-configs", body)["id"])

    def pass_fail_config(self, name: str) -> str:
        return str(self._post("/api/public/score-configs", {"name": name, "dataType": "BOOLEAN"})["id"])

    def annotate(
        self,
        name: str,
        value: float | str,
        config_id: str,
        trace_id: str,
        observation_id: str | None = None,
        comment: str | None = None,
        data_type: str = "NUMERIC",
        queue_id: str | None = None,
    ) -> str:
        body: dict[str, JsonValue] = {
            "id": secrets.token_hex(8),
            "name": name,
            "value": value,
            "dataType": data_type,
            "traceId": trace_id,
            "source": "ANNOTATION",
            "configId": config_id,
        }
        body |= {"observationId": observation_id} if observation_id else {}
        body |= {"comment": comment} if comment else {}
        body |= {"queueId": queue_id} if queue_id else {}
        return str(self._post("/api/public/scores", body)["id"])

    def comment(self, object_type: str, object_id: str, content: str) -> str:
        project = self._http.get("/api/public/projects").json()["data"][0]["id"]
        body: dict[str, JsonValue] = {
            "projectId": project,
            "objectType": object_type,
            "objectId": object_id,
            "content": content,
        }
        return str(self._post("/api/public/comments", body)["id"])

    def queue(self, name: str, config_ids: Sequence[str], traces: Sequence[str]) -> str:
        body: dict[str, JsonValue] = {"name": name, "scoreConfigIds": [*config_ids]}
        queue_id = str(self._post("/api/public/annotation-queues", body)["id"])
        for trace in traces:
            item: dict[str, JsonValue] = {"objectId": trace, "objectType": "TRACE"}
            self._post(f"/api/public/annotation-queues/{queue_id}/items", item)
        return queue_id

    def complete(self, queue_id: str, item_id: str) -> None:
        """Mark an item of a queue as looked at."""
        path = f"/api/public/annotation-queues/{queue_id}/items/{item_id}"
        answer = self._http.patch(path, json={"status": "COMPLETED"})
        assert answer.status_code == 200, answer.text

    def _post(self, path: str, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        answer = self._http.post(path, json=body)
        assert answer.status_code < 300, answer.text
        found: dict[str, JsonValue] = answer.json()
        return found
