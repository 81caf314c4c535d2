import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from textwrap import dedent

import anyio
import pytest

from lfexp_mcp.errors import BudgetError, JudgeError, LfexpError
from lfexp_mcp.gateway import ModelPrice
from lfexp_mcp.judges.budget import DEFAULT_ANSWER_TOKENS, Budget, budget_warnings
from lfexp_mcp.judges.model_client import Meter, ModelClient
from lfexp_mcp.judges.prices import Price, PriceTable, open_prices
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import Message, ModelUsage
from lfexp_mcp.services.experiments.run_experiment import estimate_run
from tests.judges.asking import QUICK, make_judge, settings_for
from tests.providers.server import Failure, ProviderServer, Reply

TABLE = PriceTable(
    [
        ModelPrice("gpt-free", "(?i)^(gpt-free)$", None, None),
        ModelPrice("gpt-test", r"(?i)^(azure\/)?(gpt-test)(-[\d]+)?$", 1e-6, 4e-6),
        ModelPrice("claude-test", "(?i)^(claude-test)(@[a-zA-Z0-9]+)?$", 3e-6, 15e-6),
        ModelPrice("broken", "(", 1.0, 1.0),
    ]
)


@pytest.mark.parametrize("model", ["gpt-test", "GPT-Test", "azure/gpt-test", "gpt-test-2026"])
def test_a_price_is_found_by_the_tables_own_patterns(model: str) -> None:
    assert TABLE.cost(model, ModelUsage(input_tokens=1000, output_tokens=100)) == pytest.approx(0.0014)


@pytest.mark.parametrize("model", ["gpt-other", "gpt-free", "xgpt-test", "", "a" * 5000])
def test_an_unknown_price_is_not_guessed(model: str) -> None:
    assert TABLE.price_of(model) is None
    assert TABLE.cost(model, ModelUsage(input_tokens=1)) is None


def test_tokens_that_nobody_told_have_no_cost() -> None:
    assert TABLE.cost("gpt-test", ModelUsage(calls=2, unmetered=1, input_tokens=5)) is None


def test_the_first_row_that_matches_wins() -> None:
    table = PriceTable([ModelPrice("own", "^gpt-test$", 2.0, 2.0), ModelPrice("gpt-test", "^gpt-test$", 1.0, 1.0)])
    price = table.price_of("gpt-test")
    assert price is not None
    assert price.input == 2.0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "input_price", "output_price"),
    [("gpt-4o", 2.5e-6, 10e-6), ("gpt-4o-2024-08-06", 2.5e-6, 10e-6), ("claude-haiku-4-5-20251001", 1e-6, 5e-6)],
)
async def test_a_model_that_langfuse_has_no_price_of_costs_what_is_published(
    model: str, input_price: float, output_price: float
) -> None:
    price = (await open_prices([], [model])).price_of(model)
    assert price is not None
    assert price.input == pytest.approx(input_price)
    assert price.output == pytest.approx(output_price)
    assert price.source == f"genai-prices {version('genai-prices')}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "model",
    ["gpt-4o-mini-of-mine", "ft:gpt-4o:me", "gpt-test", "mistral-large", "text-embedding-3-small", "", "a" * 5000],
)
async def test_what_is_not_published_under_just_this_name_is_not_guessed(model: str) -> None:
    assert (await open_prices([], [model])).price_of(model) is None


@pytest.mark.anyio
async def test_langfuses_price_overrides_the_published_one() -> None:
    rows = [ModelPrice("gpt-4o", "(?i)^(gpt-4o)$", 1.0, 2.0), ModelPrice("gpt-5", "^gpt-5$", None, None)]
    table = await open_prices(rows, ["gpt-4o", "gpt-5"])
    assert table.price_of("gpt-4o") == Price(1.0, 2.0, "Langfuse")
    unpriced = table.price_of("gpt-5")
    assert unpriced is not None
    assert unpriced.source != "Langfuse"


@pytest.mark.slow
def test_published_prices_are_found_without_a_socket() -> None:
    program = """
        import sys
        opened = []
        sys.addaudithook(lambda event, _: opened.append(event) if event.startswith("socket.") else None)
        from lfexp_mcp.judges.prices import published_prices
        imported_early = "genai_prices" in sys.modules
        print(list(published_prices(["gpt-4o", "mystery"])), imported_early, "genai_prices" in sys.modules, opened)
    """
    ran = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[0] == "['gpt-4o'] False True []"


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|aa)+$",
        "((a*)*)*$",
        "(.*a){20}",
        "(?:a?){50,}a{50}",
        "a*a*a*a*a*a*a*b",
        r"(\w+\s?)+$",
        "(a{1,}){1,}$",
        "x" * 2000,
        "(?P<n>a)(?P=n)+",
        "[",
        "a**",
    ],
)
def test_a_pattern_that_could_keep_us_is_not_relied_on(pattern: str) -> None:
    table = PriceTable([ModelPrice("evil", pattern, 1.0, 1.0)])
    began = time.process_time()
    table.price_of("a" * 99 + "!")
    assert time.process_time() - began < 5
    assert table.price_of("evil") is not None


def test_a_run_is_estimated_from_a_sample_of_it() -> None:
    sample = {
        "gpt-test": ModelUsage(calls=4, input_tokens=2000, output_tokens=100),
        "claude-test": ModelUsage(calls=2, input_tokens=1000, output_tokens=100),
    }
    estimate = estimate_run(sample, sampled=2, results=100, prices=TABLE)
    assert (estimate.calls, estimate.input_tokens, estimate.output_tokens) == (300, 150_000, 10_000)
    assert estimate.cost_usd == pytest.approx(50 * (0.0024 + 0.0045))
    assert estimate.unknown_prices == []


def test_an_estimate_names_the_models_whose_price_is_unknown() -> None:
    estimate = estimate_run({"gpt-test": ModelUsage(calls=1), "mystery": ModelUsage(calls=1)}, 1, 10, TABLE)
    assert (estimate.calls, estimate.cost_usd, estimate.unknown_prices) == (20, None, ["mystery"])


def request(characters: int = 300, max_tokens: int = 100) -> ModelRequest:
    return ModelRequest("gpt-test", (Message("user", "x" * characters),), {"max_tokens": max_tokens})


def answer(input_tokens: int, output_tokens: int, *, metered: bool = True) -> ModelAnswer:
    return ModelAnswer("", "complete", input_tokens, output_tokens, metered)


@pytest.mark.anyio
async def test_a_budget_sets_aside_what_a_call_may_cost_and_settles_what_it_did() -> None:
    budget = Budget(0.001, TABLE)
    reserved = await budget.reserve(request())
    assert reserved == pytest.approx(100 * 1e-6 + 100 * 4e-6)
    assert budget.left == pytest.approx(0.0005)
    budget.settle(request(), reserved, answer(100, 25))
    assert budget.spent == pytest.approx(0.0002)
    # The next answer may be as long as the request allows.
    assert await budget.reserve(request()) == pytest.approx(reserved)


@pytest.mark.anyio
async def test_an_answer_without_max_tokens_may_be_as_long_as_the_longest_before() -> None:
    budget = Budget(1, TABLE)
    open_ended = replace(request(), parameters={})

    async def set_aside() -> float:
        reserved = await budget.reserve(open_ended)
        budget.settle(open_ended, reserved, None)
        return reserved

    assert await set_aside() == pytest.approx(100 * 1e-6 + DEFAULT_ANSWER_TOKENS * 4e-6)
    for tokens in (900, 10, 10):
        budget.settle(open_ended, await budget.reserve(open_ended), answer(100, tokens))
    assert await set_aside() == pytest.approx(100 * 1e-6 + 900 * 4e-6)


@pytest.mark.anyio
async def test_a_question_in_a_script_without_short_tokens_counts_a_token_per_character() -> None:
    budget = Budget(1, TABLE)
    asked = replace(request(), messages=(Message("user", "好" * 300),))
    assert await budget.reserve(asked) == pytest.approx(300 * 1e-6 + 100 * 4e-6)


@pytest.mark.anyio
@pytest.mark.parametrize("before", [0, 1, 20])
async def test_calls_in_flight_spend_no_more_than_the_limit_however_long_their_answers_get(before: int) -> None:
    budget = Budget(0.005, TABLE)
    for _ in range(before):
        budget.settle(request(), await budget.reserve(request()), answer(100, 1))
    in_flight = []
    while budget.left >= 0.0005:
        in_flight.append(await budget.reserve(request()))
    for reserved in in_flight:
        budget.settle(request(), reserved, answer(100, 100))
    assert 0.0045 < budget.spent <= 0.005


def test_a_prompt_without_max_tokens_is_named_where_there_is_a_limit() -> None:
    judges = [make_judge(parameters={"max_tokens": 20}), make_judge(parameters={})]
    (warning,) = budget_warnings(1.0, judges)
    assert (repr(judges[0].name) in warning, "max_tokens" in warning) == (True, True)
    assert budget_warnings(None, judges) == []
    assert budget_warnings(1.0, judges[:1]) == []


@pytest.mark.anyio
async def test_a_call_that_the_budget_does_not_cover_is_not_made() -> None:
    budget = Budget(0.001, TABLE, spent=0.0006)
    with pytest.raises(BudgetError):
        await budget.reserve(request())
    assert budget.left == pytest.approx(0.0004)


@pytest.mark.anyio
async def test_a_call_without_an_answer_costs_nothing_and_one_without_tokens_what_was_set_aside() -> None:
    budget = Budget(1, TABLE)
    budget.settle(request(), await budget.reserve(request()), None)
    assert budget.spent == 0
    reserved = await budget.reserve(request())
    budget.settle(request(), reserved, answer(0, 0, metered=False))
    assert budget.spent == pytest.approx(reserved)
    assert budget.left == pytest.approx(1 - reserved)


def test_a_limit_that_cannot_be_kept_is_refused_before_the_run() -> None:
    with pytest.raises(JudgeError, match="'gpt-free', 'mystery'"):
        Budget(1, TABLE).check(["mystery", "gpt-test", "gpt-free", "mystery"])


@pytest.mark.anyio
async def test_a_panel_stops_before_it_spends_more_than_its_budget(openai_server: ProviderServer) -> None:
    openai_server.script(Failure(500), Reply())
    budget = Budget(0.002, TABLE)
    judge = make_judge(parameters={"max_tokens": 20})
    scored = 0
    async with ModelClient(settings_for(openai_server), policy=QUICK, budget=budget) as models:
        runner = JudgeRunner(models)

        async def score_all() -> None:
            nonlocal scored
            for _ in range(100):
                await runner.judge(judge, input="", output="x" * 100, expected_output="", metadata={})
                scored += 1

        with pytest.raises(BudgetError):
            await score_all()
    assert 0 < scored < 100
    assert len(openai_server.calls) == scored + 1
    assert budget.spent == pytest.approx(scored * (100 * 1e-6 + 20 * 4e-6))
    assert budget.spent <= 0.002


async def ask_at_once(server: ProviderServer, budget: Budget, calls: int) -> Counter[str]:
    """Make calls side by side; count what became of them."""
    outcomes: Counter[str] = Counter()
    async with ModelClient(settings_for(server), policy=QUICK, budget=budget) as models:

        async def ask() -> None:
            try:
                await models.ask("openai", request(), Meter())
                outcomes["answered"] += 1
            except LfexpError as error:
                outcomes[type(error).__name__] += 1

        async with anyio.create_task_group() as group:
            for _ in range(calls):
                group.start_soon(ask)
    return outcomes


CALL_COST = 100 * 1e-6 + 20 * 4e-6
"""What `request()` costs when it is answered; before that, more than the double is set aside, 2.8 times as much."""


@pytest.mark.anyio
async def test_calls_that_only_open_reservations_leave_no_room_for_wait_for_them(openai_server: ProviderServer) -> None:
    budget = Budget(12 * CALL_COST, TABLE)
    assert await ask_at_once(openai_server, budget, 10) == {"answered": 10}
    assert budget.spent == pytest.approx(10 * CALL_COST)


@pytest.mark.anyio
async def test_a_budget_is_used_up_to_the_last_call_that_it_covers(openai_server: ProviderServer) -> None:
    budget = Budget(10.5 * CALL_COST, TABLE)
    assert await ask_at_once(openai_server, budget, 40) == {"answered": 8, "BudgetError": 32}
    assert budget.spent == pytest.approx(8 * CALL_COST)


@pytest.mark.anyio
async def test_calls_that_fail_give_their_reservations_back_to_those_that_wait(openai_server: ProviderServer) -> None:
    openai_server.script(*[Failure(400, "No.")] * 5, Reply())
    budget = Budget(5 * CALL_COST, TABLE)
    assert await ask_at_once(openai_server, budget, 8) == {"answered": 3, "ProviderError": 5}


@pytest.mark.anyio
async def test_a_waiting_call_that_is_given_up_holds_nothing_back() -> None:
    budget = Budget(CALL_COST, TABLE)
    held = await budget.reserve(request(characters=3, max_tokens=20))
    with anyio.move_on_after(0.01) as scope:
        await budget.reserve(request())
    assert scope.cancelled_caught
    budget.settle(request(), held, None)
    assert budget.left == CALL_COST
