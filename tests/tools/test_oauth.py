"""Whose access tokens let a caller in: over HTTP, against an issuer with real keys."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import JsonValue

from lfexp_mcp.settings import Settings
from lfexp_mcp.tools import oauth
from lfexp_mcp.tools.http_app import build_app
from lfexp_mcp.tools.oauth import IssuerKeys, KeysUnavailableError
from tests.serving import free_port
from tests.tools.remote import (
    AUDIENCE,
    HEADERS,
    INITIALIZE,
    HttpServer,
    Issuer,
    answer_with,
    public_jwk,
    serving_http,
    unsigned,
)

STATIC = "a-static-token"
ISSUER = {"LFEXP_OAUTH_ISSUER": "https://issuer.test"}


def variables(issuer: Issuer) -> dict[str, str]:
    return {
        "LFEXP_HTTP_URL": AUDIENCE,
        "LFEXP_OAUTH_ISSUER": issuer.url,
        "LFEXP_OAUTH_JWKS_URL": issuer.jwks_url,
        "LFEXP_OAUTH_SCOPES": "experiments",
    }


@pytest.fixture
def server(issuer: Issuer, tmp_path: Path) -> Iterator[HttpServer]:
    with serving_http(tmp_path, **variables(issuer), LFEXP_HTTP_TOKEN=STATIC) as served:
        yield served


def by_hmac(issuer: Issuer, algorithm: str = "HS256") -> str:
    """Sign with the public key as if it were a shared secret."""
    pem = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).prepare_key(issuer.keys["rsa"])  # type: ignore[arg-type]
    secret = pem.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[union-attr]
    head, body, _ = unsigned({"alg": algorithm, "kid": "rsa"}, issuer.claims()).split(".")
    signature = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def twice(issuer: Issuer, *audiences: str) -> str:
    """Sign claims that name the audience several times."""
    claims = json.dumps(issuer.claims(aud=None))[:-1]
    written = claims + "".join(f', "aud": "{each}"' for each in audiences) + "}"
    return jwt.api_jws.encode(written.encode(), issuer.keys["rsa"], "RS256", {"kid": "rsa"})


def tampered(token: str) -> str:
    head, _, signature = token.split(".")
    body = unsigned({}, {"iss": "x", "aud": AUDIENCE, "sub": "root", "exp": int(time.time()) + 600}).split(".")[1]
    return f"{head}.{body}.{signature}"


ODD_TIMES: tuple[JsonValue, ...] = ("tomorrow", "1999999999", True, -1, 10**30, [1999999999])
ODD_ALGORITHMS: tuple[JsonValue, ...] = ("nOnE", "", None, ["RS256"], 256)
ODD_KEY_IDS: tuple[JsonValue, ...] = (1, None, ["rsa"], "../../etc/passwd", "k" * 8_000, "a\nb", "")


def cases(issuer: Issuer) -> dict[str, tuple[int, str | None]]:
    """Each token, and the status of the answer to it."""
    now, sign = int(time.time()), issuer.token
    foreign = jwt.encode(issuer.claims(), issuer.keys["next"], algorithm="RS256", headers={"kid": "rsa"})
    own_key = {"alg": "RS256", "kid": "own", "jwk": public_jwk(issuer.keys["next"], "own"), "jku": "http://x.test/"}
    without_kid = jwt.encode(issuer.claims(), issuer.keys["ec"], algorithm="ES256")
    return {
        "valid": (200, sign()),
        "valid, RSA-PSS": (200, sign(algorithm="PS256")),
        "valid, elliptic curve": (200, sign("ec", "ES256")),
        "valid, Edwards curve": (200, sign("ed", "EdDSA")),
        "valid, of the only key that fits": (200, without_kid),
        "valid, one audience of two": (200, sign(aud=["https://other.test", AUDIENCE])),
        "valid, one scope of several": (200, sign(scope="profile experiments")),
        "valid, scopes as a list": (200, sign(scope=None, scp=["experiments"])),
        "static": (200, STATIC),
        "valid, the last audience of two members": (
            200,
            twice(issuer, "https://other.test", AUDIENCE),
        ),
        "another last audience": (401, twice(issuer, AUDIENCE, "https://other.test")),
        "valid, of a clock that is a little ahead": (200, sign(nbf=now + 3, iat=now + 3)),
        "valid, for longer than anyone needs": (200, sign(exp=now + 10 * 365 * 86_400)),
        "none": (401, None),
        "several tokens in one header": (401, f"{sign()}, {sign()}"),
        "a token and a word": (401, f"{sign()} x"),
        "words": (401, "two words"),
        "no token": (401, "a.b.c"),
        "part of the static token": (401, STATIC[:-1]),
        "expired": (401, sign(exp=now)),
        "expiring at the end of numbers": (401, sign(exp=float("inf"))),
        "expiring never": (401, sign(exp=None)),
        **{f"expiring at {time!r}": (401, sign(exp=time)) for time in ODD_TIMES},
        "valid, expiring at a fraction of a second": (200, sign(exp=now + 600.5)),
        "not yet valid": (401, sign(nbf=now + 300)),
        "issued in the future": (401, sign(iat=now + 300)),
        "another audience": (401, sign(aud="https://other.test/mcp")),
        **{
            f"the audience {like}": (401, sign(aud=like))
            for like in (
                f"{AUDIENCE}/",
                f"{AUDIENCE}/evil",
                f"{AUDIENCE}-admin",
                AUDIENCE.removesuffix("/mcp"),
                AUDIENCE.replace(".com", ".com.evil.test"),
                AUDIENCE.replace(".com", ".com:443"),
                AUDIENCE.upper(),
            )
        },
        "audiences within a list": (401, sign(aud=[[AUDIENCE]])),
        "no audience": (401, sign(aud=None)),
        "an empty list of audiences": (401, sign(aud=[])),
        "an audience in an object": (401, sign(aud={AUDIENCE: True})),
        "another issuer": (401, sign(iss="https://issuer.test")),
        "the issuer with a slash more": (401, sign(iss=f"{issuer.url}/")),
        "no issuer": (401, sign(iss=None)),
        "another realm of the issuer": (401, sign(iss=f"{issuer.url}/realms/other")),
        "a host that begins like the issuer": (401, sign(iss=f"{issuer.url}.evil.test")),
        "an identity token, for the client": (401, sign(aud="agent", nonce="n")),
        "a key id that two keys have": (401, sign("twin")),
        "no subject": (401, sign(sub=None)),
        "an empty subject": (401, sign(sub="")),
        "no scope": (403, sign(scope=None)),
        "a scope that only begins so": (403, sign(scope="experiments:read")),
        "a scope in an object": (403, sign(scope={"experiments": True})),
        "an unsigned token": (401, unsigned({"alg": "none", "kid": "rsa"}, issuer.claims())),
        **{
            f"the algorithm {written}": (401, unsigned({"alg": written, "kid": "rsa"}, issuer.claims()))
            for written in ODD_ALGORITHMS
        },
        "no algorithm": (401, unsigned({"kid": "rsa"}, issuer.claims())),
        **{
            f"the key id {str(kid)[:20]!r}": (401, unsigned({"alg": "RS256", "kid": kid}, issuer.claims(), b"x"))
            for kid in ODD_KEY_IDS
        },
        "a shared secret in the key set": (401, jwt.encode(issuer.claims(), "s" * 32, "HS256", headers={"kid": "oct"})),
        "a key for another algorithm": (401, sign("for-pss")),
        "a key for encryption": (401, sign("for-encryption")),
        "a key that verifies nothing": (401, sign("for-wrapping")),
        "an encrypted token": (401, "a.b.c.d.e"),
        "a shared secret": (401, by_hmac(issuer)),
        "another key under the name of one": (401, foreign),
        "a key of its own": (401, jwt.encode(issuer.claims(), issuer.keys["next"], "RS256", headers=own_key)),
        "an unknown key": (401, sign("next")),
        "a small key": (401, sign("small")),
        "an algorithm that its key is not for": (401, unsigned({"alg": "ES256", "kid": "rsa"}, issuer.claims(), b"x")),
        "critical headers": (401, unsigned({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": False}, {}, b"x")),
        "a header without an end": (401, urlsafe_b64encode(b"[" * 6_000).decode() + ".e30.AA"),
        "other claims under a signature": (401, tampered(sign())),
        "a token that is too long": (401, sign(note="x" * 15_000)),
    }


def publish_odd_keys(issuer: Issuer) -> None:
    """Publish keys that are for something else, and what is no key, among the good ones."""
    odd: dict[str, dict[str, JsonValue]] = {
        "for-pss": {"alg": "PS256"},
        "for-encryption": {"use": "enc"},
        "for-wrapping": {"key_ops": ["wrapKey"]},
    }
    for kid in odd:
        issuer.keys[kid] = issuer.keys["next"]
    keys = issuer.published["keys"]
    assert isinstance(keys, list)
    keys += [public_jwk(issuer.keys[kid], kid) | changes for kid, changes in odd.items()]
    issuer.keys["twin"] = issuer.keys["rsa"]
    keys += [public_jwk(issuer.keys[kid], "twin") for kid in ("rsa", "next")]
    shared = urlsafe_b64encode(b"s" * 32).decode()
    keys += [{"kty": "oct", "k": shared, "kid": "oct", "alg": "HS256"}, {"kty": "new"}, {"kty": ["RSA"]}, "rsa", None]
    keys += [{"kty": "RSA", "kid": "no-number", "n": "?", "e": "AQAB"}, {"kty": "RSA", "key_ops": 5}]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_only_valid_tokens_let_in(server: HttpServer, issuer: Issuer) -> None:
    publish_odd_keys(issuer)
    given = cases(issuer)
    statuses = {name: server.post(token).status_code for name, (_, token) in given.items()}
    assert statuses == {name: status for name, (status, _) in given.items()}
    both = [("Authorization", f"Bearer {token}") for token in (STATIC, issuer.token())]
    for several in (both, both[::-1], [both[0], ("Authorization", "Basic x")]):
        answer = server.http.post(server.url, json=INITIALIZE, headers=[*HEADERS.items(), *several])
        assert answer.status_code == 401
    for elsewhere in (f"{server.url}?access_token={STATIC}", server.url):
        sent = HEADERS | {"X-Authorization": f"Bearer {STATIC}", "Cookie": f"access_token={STATIC}"}
        assert server.http.post(elsewhere, json=INITIALIZE, headers=sent).status_code == 401
    for scheme in ("bearer ", "BEARER ", "Bearer  "):
        sent = HEADERS | {"Authorization": f"{scheme}{issuer.token()}"}
        assert server.http.post(server.url, json=INITIALIZE, headers=sent).status_code == 200
    evil = issuer.token(aud="http://evil.test/mcp")
    assert server.post(evil, Host="evil.test").status_code == 401, "the audience is no matter of the request"
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        assert server.http.request(method, server.url, headers=HEADERS).status_code == 401
    paths = ("//mcp", "/mcp/", "/MCP", "/mcp%2f", "/healthz/../mcp", "/healthz/mcp", "/healthz;/mcp", "/")
    for path in paths:
        url = server.url.replace("/mcp", path)
        assert server.http.post(url, json=INITIALIZE, headers=HEADERS).status_code in (401, 404, 405), path
    health = server.http.get(server.url.replace("/mcp", "/healthz"))
    assert (health.status_code, health.text) == (200, "ok\n")
    refusal = server.post(None)
    metadata_url = AUDIENCE.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert f'resource_metadata="{metadata_url}"' in refusal.headers["WWW-Authenticate"]
    metadata = server.http.get(server.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")).json()
    assert (metadata["resource"], metadata["authorization_servers"]) == (AUDIENCE, [issuer.url])
    assert metadata["scopes_supported"] == ["experiments"]
    log = server.log.read_text()
    assert not any(token and token in log for _, token in given.values())


@asynccontextmanager
async def app_client(issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app in this process."""
    port = free_port()
    settings = Settings(
        http_url=AUDIENCE, oauth_issuer=issuer.url, oauth_jwks_url=issuer.jwks_url, oauth_scopes=("experiments",)
    )
    app = build_app(settings, "127.0.0.1", port, None)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, headers=HEADERS) as client,
    ):
        yield client


async def status_of(client: httpx.AsyncClient, token: str) -> int:
    return (await client.post(AUDIENCE, json=INITIALIZE, headers={"Authorization": f"Bearer {token}"})).status_code


def refuse(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, 500, b"")


def page(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, 200, b"<html>")


def too_much(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, 200, b'{"keys": [' + b" " * 300_000 + b"]}")


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/jwks2")
    handler.end_headers()


def secrets_only(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, 200, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa", "alg": "HS256"}]}')


def nested(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, 200, b"[" * 100_000)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("answer", [refuse, page, too_much, redirect, secrets_only, nested])
async def test_without_the_issuers_keys_nobody_is_let_in_and_the_log_says_why(
    issuer: Issuer, answer: Callable[[BaseHTTPRequestHandler], None], caplog: pytest.LogCaptureFixture
) -> None:
    issuer.answer = answer
    async with app_client(issuer) as client:
        refused = await client.post(AUDIENCE, json=INITIALIZE, headers={"Authorization": f"Bearer {issuer.token()}"})
        assert refused.status_code == 503
        assert refused.json()["error"] == "temporarily_unavailable"
        assert int(refused.headers["Retry-After"]) > 0
    assert issuer.asked == 1
    assert issuer.jwks_url in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize("every", [None, 0.01])
async def test_an_issuer_that_does_not_answer_in_time_is_given_up(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, every: float | None
) -> None:
    def dribble(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        # Each byte comes in time, and the whole never does.
        with suppress(OSError):
            while not issuer.closing.wait(every):
                handler.wfile.write(b" ")

    monkeypatch.setattr(oauth, "FETCH_TIMEOUT_S", 0.05)
    issuer.answer = dribble
    with pytest.raises(KeysUnavailableError):
        await IssuerKeys(issuer.jwks_url).find("rsa", "RS256")


@pytest.mark.anyio
async def test_invented_key_ids_cost_the_issuer_one_request_and_a_new_key_is_found_in_time(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "MIN_FETCH_INTERVAL_S", 1e6)
    async with app_client(issuer) as client:
        assert await status_of(client, issuer.token()) == 200
        assert await status_of(client, issuer.token("next")) == 401
        statuses = [await status_of(client, unsigned({"alg": "RS256", "kid": f"k{n}"}, {})) for n in range(50)]
        own_keys: dict[str, JsonValue] = {
            "alg": "RS256",
            "kid": "rsa",
            **dict.fromkeys(("jku", "x5u"), f"{issuer.url}/own"),
        }
        statuses.append(await status_of(client, unsigned(own_keys, issuer.claims(), b"x")))
        assert set(statuses) == {401}
        assert issuer.asked == 1
        monkeypatch.setattr(oauth, "MIN_FETCH_INTERVAL_S", 0.0)
        issuer.publish("next")
        assert await status_of(client, issuer.token("next")) == 200
        assert issuer.asked == 2
        assert await status_of(client, issuer.token()) == 401


@pytest.mark.anyio
async def test_many_callers_at_once_ask_the_issuer_once(issuer: Issuer) -> None:
    keys = IssuerKeys(issuer.jwks_url)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(keys.find, "rsa", "RS256")
    assert issuer.asked == 1


@pytest.mark.anyio
async def test_keys_outlive_an_issuer_for_a_while_and_no_longer(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_client(issuer) as client:
        assert await status_of(client, issuer.token()) == 200
        issuer.answer = refuse
        monkeypatch.setattr(oauth, "MIN_FETCH_INTERVAL_S", 0.0)
        monkeypatch.setattr(oauth, "KEYS_FRESH_S", 0.0)
        assert await status_of(client, issuer.token()) == 200
        assert issuer.asked == 2
        monkeypatch.setattr(oauth, "KEYS_USABLE_S", 0.0)
        assert await status_of(client, issuer.token()) == 503


@pytest.mark.anyio
async def test_a_withdrawn_key_is_trusted_no_longer_than_keys_are_fresh_though_nobody_names_another(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert oauth.KEYS_FRESH_S < oauth.KEYS_USABLE_S <= 3600
    monkeypatch.setattr(oauth, "MIN_FETCH_INTERVAL_S", 0.0)
    async with app_client(issuer) as client:
        assert await status_of(client, issuer.token()) == 200
        issuer.publish("next")
        assert await status_of(client, issuer.token()) == 200
        monkeypatch.setattr(oauth, "KEYS_FRESH_S", 0.0)
        assert await status_of(client, issuer.token()) == 401


@pytest.mark.parametrize(
    ("set_variables", "named"),
    [
        ({"LFEXP_OAUTH_ISSUER": "http://issuer.test"}, "LFEXP_OAUTH_ISSUER"),
        ({"LFEXP_OAUTH_ISSUER": "issuer.test"}, "LFEXP_OAUTH_ISSUER"),
        (ISSUER, "LFEXP_OAUTH_JWKS_URL"),
        (ISSUER | {"LFEXP_OAUTH_JWKS_URL": "http://issuer.test/jwks"}, "LFEXP_OAUTH_JWKS_URL"),
        (ISSUER | {"LFEXP_OAUTH_JWKS_URL": "file:///etc/jwks"}, "LFEXP_OAUTH_JWKS_URL"),
        ({"LFEXP_OAUTH_JWKS_URL": "https://issuer.test/jwks"}, "LFEXP_OAUTH_ISSUER"),
        ({"LFEXP_OAUTH_AUDIENCE": "lfexp"}, "LFEXP_OAUTH_ISSUER"),
        ({"LFEXP_OAUTH_SCOPES": "experiments"}, "LFEXP_OAUTH_ISSUER"),
        ({"LFEXP_HTTP_URL": "https://user:word@x.test/mcp"}, "LFEXP_HTTP_URL"),
        ({"LFEXP_HTTP_URL": "https://x.test/mcp?a=1"}, "LFEXP_HTTP_URL"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], set_variables: dict[str, str], named: str
) -> None:
    from lfexp_mcp.cli.app import run_command

    for name, value in set_variables.items():
        monkeypatch.setenv(name, value)
    assert run_command(["serve", "--http", "--port", "1"]) == 2
    assert named in capsys.readouterr().err


def test_scopes_may_come_as_text_or_list() -> None:
    given: list[tuple[JsonValue, list[str]]] = [("a  b", ["a", "b"]), (["a", 1, ""], ["a"]), (None, []), ({"a": 1}, [])]
    assert [oauth._scopes(claim) for claim, _ in given] == [scopes for _, scopes in given]
