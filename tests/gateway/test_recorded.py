"""Answers of a real Langfuse 4.16.0, read into the gateway's types."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from lfexp_mcp.gateway import (
    Comment,
    Dataset,
    Experiment,
    ModelPrice,
    Observation,
    Prompt,
    PromptInfo,
    Queue,
    QueueItem,
    ScoreConfig,
)
from lfexp_mcp.gateway.transport import CursorPage, NumberedPage
from lfexp_mcp.gateway.wire import DatasetItemRow, ScoreRow
from lfexp_mcp.model import Category

RECORDED = Path(__file__).parent.parent / "store" / "recorded"
LISTS = [
    ("datasets.json", NumberedPage[Dataset], 7),
    ("dataset-items.json", NumberedPage[DatasetItemRow], 3),
    ("prompts.json", NumberedPage[PromptInfo], 1),
    ("score-configs.json", NumberedPage[ScoreConfig], 3),
    ("comments.json", NumberedPage[Comment], 2),
    ("annotation-queues.json", NumberedPage[Queue], 1),
    ("annotation-queues_items.json", NumberedPage[QueueItem], 2),
    ("models.json", NumberedPage[ModelPrice], 2),
    ("experiments_all_fields.json", CursorPage[Experiment], 7),
    ("observations.json", CursorPage[Observation], 3),
    ("observations_trace_all_fields.json", CursorPage[Observation], 6),
    ("scores_v3.json", CursorPage[ScoreRow], 100),
]


def _read(name: str, shape: Any) -> Any:  # noqa: ANN401
    return TypeAdapter(shape).validate_json((RECORDED / name).read_bytes())


@pytest.mark.parametrize(("name", "shape", "count"), LISTS, ids=[name for name, _, _ in LISTS])
def test_every_listing_of_a_real_server_is_read(name: str, shape: object, count: int) -> None:
    assert len(_read(name, shape).data) == count


def test_a_dataset_and_a_prompt_are_read_with_their_json() -> None:
    dataset: Dataset = _read("datasets_get.json", Dataset)
    assert (dataset.name, dataset.description, dataset.metadata) == (
        "capitals-shim1",
        "changed",
        {"n": 3, "owner": "qa"},
    )
    prompt: Prompt = _read("prompts_get.json", Prompt)
    assert (prompt.version, prompt.prompt) == (3, "Score {{output}} against {{expected}}.")
    assert prompt.config == {"model": "gpt-x", "temperature": 0, "score_name": "accuracy"}


def test_an_observation_is_decoded_and_what_is_empty_is_none() -> None:
    observations: list[Observation] = _read("observations_trace_all_fields.json", CursorPage[Observation]).data
    evaluator = next(each for each in observations if each.type == "EVALUATOR")
    assert isinstance(evaluator.input, dict)
    assert evaluator.input["metadata"] == {"region": "sa", "difficulty": 2}
    assert (evaluator.session_id, evaluator.model, evaluator.cost) == (None, None, None)
    assert evaluator.seconds == 0.0


def test_an_experiment_has_its_times_and_scores() -> None:
    experiments: list[Experiment] = _read("experiments_all_fields.json", CursorPage[Experiment]).data
    assert experiments[0].created == datetime(2026, 11, 22, 22, 48, 48, 716000, UTC)
    assert experiments[0].item_count == 150
    assert all(score.experiment_id == each.id for each in experiments for score in each.scores)


def test_a_chat_prompt_is_read_without_its_placeholders() -> None:
    messages = [{"role": "system", "content": "Judge."}, {"type": "placeholder", "name": "history"}]
    prompt: Prompt = TypeAdapter(Prompt).validate_python(
        {"name": "p", "version": 1, "prompt": messages, "config": None}
    )
    assert not isinstance(prompt.prompt, str)
    assert [message.content for message in prompt.prompt] == ["Judge."]
    assert prompt.config == {}


def test_the_categories_of_a_score_config_are_those_of_a_scale() -> None:
    raw = {"id": "c", "name": "n", "dataType": "CATEGORICAL", "categories": [{"label": "good", "value": 1}]}
    config: ScoreConfig = TypeAdapter(ScoreConfig).validate_python(raw)
    assert config.categories == (Category("good", 1),)


def test_the_price_of_a_model_is_read_from_either_place() -> None:
    row = {"modelName": "m", "matchPattern": "m", "inputPrice": 1.0, "outputPrice": 2.0}
    price: ModelPrice = TypeAdapter(ModelPrice).validate_python({**row, "prices": {"input": {"price": 3.0}}})
    assert (price.input_price, price.output_price) == (3.0, 2.0)
