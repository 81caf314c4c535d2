import pytest

from lfexp_mcp.cli.flags import repeat_list_flags


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["compare", "--runs", "a", "b", "c"], ["compare", "--runs", "a", "--runs", "b", "--runs", "c"]),
        (["--judges", "x", "--run-name", "r"], ["--judges", "x", "--run-name", "r"]),
        (["--runs", "a", "--runs", "b"], ["--runs", "a", "--runs", "b"]),
        (["--runs=a", "b"], ["--runs=a", "--runs", "b"]),
        (
            ["--runs", "a", "b", "--json", "--fail-if", "x<1", "worse"],
            ["--runs", "a", "--runs", "b", "--json", "--fail-if", "x<1", "--fail-if", "worse"],
        ),
        (
            ["--dataset", "two words", "--runs", "one run", "another"],
            ["--dataset", "two words", "--runs", "one run", "--runs", "another"],
        ),
        (["--dataset", "d", "stray"], ["--dataset", "d", "stray"]),
        ([], []),
    ],
)
def test_a_flag_with_several_values_is_repeated_before_each(given: list[str], meant: list[str]) -> None:
    assert repeat_list_flags(given) == meant
