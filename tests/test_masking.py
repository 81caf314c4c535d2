import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.masking import MIN_SECRET_CHARS, mask, secrets_in, without

WORDS = [
    "The rate limit was exceeded.",
    "Incorrect API key provided.",
    "Rotate the key regularly, key rotation helps.",
    "A key-value-store, the sk-learn-classifier and a pk_column.",
    "Bearer authentication is required.",
]


@pytest.mark.parametrize("secret", ["", "x", "ke", "key", "limit", "1234567"])
@pytest.mark.parametrize("text", WORDS)
def test_a_secret_that_is_too_short_to_be_one_leaves_words_as_they_are(text: str, secret: str) -> None:
    assert mask(text, secret) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Incorrect API key provided: sk-proj-ab12cd34.", "Incorrect API key provided: <key>"),
        ("key sk-****************abcd is wrong", "key <key> is wrong"),
        ("Authorization: Bearer abc.def1.ghi", "Authorization: <key>"),
        ("pk-lf-00000000-1111 and SK-LF-00000000-1111", "<key> and <key>"),
    ],
)
def test_what_looks_like_a_key_is_masked_whosever_it_is(text: str, shown: str) -> None:
    assert mask(text) == shown


@pytest.mark.slow
@given(st.text(string.ascii_letters + string.digits + "-_. ", min_size=MIN_SECRET_CHARS), st.text(), st.text())
def test_a_secret_is_seen_nowhere_in_a_masked_text(secret: str, before: str, after: str) -> None:
    assert secret not in mask(before + secret + after, secret)


def test_a_secret_that_is_part_of_another_one_does_not_keep_it_from_being_masked() -> None:
    assert mask("is 12345678-abcdefgh", "12345678", "12345678-abcdefgh") == "is <key>"


def test_secrets_of_the_environment_are_told_by_their_names_and_look() -> None:
    secret = {"MY_TOKEN": "a1/b2", "DB_PASSWORD": "p 4 w", "X_API_KEY": "k5", "aws_secret": "6", "Credentials": "u:p7"}
    others = {
        "SSH_KEY": "/tmp/agent.1",
        "KEY": "~/key1.pem",
        "TOKEN": "./token2",
        "CREDENTIAL": "C:\\me\\c3.json",
        "SORT_KEY": "created_at",
        "MAX_TOKENS": "10000000",
        "HOME": "/home/1",
        "EMPTY_KEY": "",
    }
    assert secrets_in({**others, **secret}) == [*secret.values()]


def test_only_secrets_that_are_known_are_replaced_where_other_words_matter() -> None:
    text = "KeyError: 'key_2024_total' with hunter2-hunter2"
    assert without(["hunter2-hunter2", "hunter2", ""], text) == "KeyError: 'key_2024_total' with <key>"
