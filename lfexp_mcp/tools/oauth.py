"""Access tokens of an OAuth 2.1 authorization server: JWTs (RFC 9068), checked against the issuer's keys (RFC 7517)."""

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

import anyio
import httpx
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend
from mcp.server.auth.provider import AccessToken, TokenVerifier
from pydantic import SecretStr
from starlette.authentication import AuthCredentials, AuthenticationError
from starlette.requests import HTTPConnection

_logger = logging.getLogger(__name__)

KEYS_FRESH_S = 600.0
"""Age from which the issuer's keys are fetched again."""
KEYS_USABLE_S = 3600.0
"""Age at which keys are trusted no longer, if the issuer did not answer since: one may have been withdrawn."""
MIN_FETCH_INTERVAL_S = 10.0
"""Time between two fetches, so that callers with invented key ids do not make this server a load to the issuer."""
FETCH_TIMEOUT_S = 5.0
MAX_KEYS_BYTES = 256 * 1024
MAX_KEYS = 100
MAX_TOKEN_CHARS = 16_384
CLOCK_SKEW_S = 5.0
"""How far ahead the issuer's clock may be; a token is refused once it has expired by ours."""
MAX_TIME = 1e12
"""Later times (in seconds since 1970) are refused."""
STATIC_CALLER = "static-token"
"""Client of callers with the static token, who are all the same caller."""

_ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithms with a public key, and the type and curve of their keys (https://www.rfc-editor.org/rfc/rfc7518)."""
_PUBLIC_MEMBERS = {"kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y"}

Key = Mapping[str, Any]


class KeysUnavailableError(AuthenticationError):
    """The issuer's keys cannot be had, so that no token can be checked."""


class IssuerKeys:
    """The keys of an issuer, fetched when they are needed and kept for a while.

    Args:
        url: Of the key set.
        transport: For tests that count or fail requests; by default the network.
    """

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport
        self._keys: tuple[Key, ...] = ()
        self._fetched: float | None = None
        self._tried: float | None = None
        self._fetching = anyio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """Return the key that a token names; for a token that names none, the only one that fits.

        Raises:
            KeysUnavailableError: There are no keys, or none new enough, and the issuer gives none.
        """
        found = self._fitting(kid, algorithm)
        if found is None or (not self._age_below(KEYS_FRESH_S) and not self._fetching.locked()):
            async with self._fetching:
                found = self._fitting(kid, algorithm)
                if (found is None or not self._age_below(KEYS_FRESH_S)) and self._may_fetch():
                    await self._fetch()
                    found = self._fitting(kid, algorithm)
        if not self._age_below(KEYS_USABLE_S):
            raise KeysUnavailableError("The keys of the authorization server cannot be fetched now.")
        return found

    def _fitting(self, kid: str | None, algorithm: str) -> Key | None:
        kty, curve = _ALGORITHMS[algorithm]
        fitting = [
            key
            for key in self._keys
            if (key["kty"], key.get("crv") if curve else None) == (kty, curve)
            and key.get("alg", algorithm) == algorithm
            and key.get("use", "sig") == "sig"
            and "verify" in key.get("key_ops", ("verify",))
            and (kid is None or key.get("kid") == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def _age_below(self, seconds: float) -> bool:
        return self._fetched is not None and anyio.current_time() - self._fetched < seconds

    def _may_fetch(self) -> bool:
        return self._tried is None or anyio.current_time() - self._tried >= MIN_FETCH_INTERVAL_S

    async def _fetch(self) -> None:
        self._tried = anyio.current_time()
        try:
            with anyio.fail_after(FETCH_TIMEOUT_S):
                self._keys = _public_keys(await self._read())
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            _logger.warning(
                "The keys of the authorization server cannot be fetched from %s: %s", self._url, reason[:300]
            )
            return
        self._fetched = anyio.current_time()

    async def _read(self) -> bytes:
        # Asked for as it is: a small compressed answer could unpack to any size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, transport=self._transport) as http,
            http.stream("GET", self._url, headers=headers) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"status {answer.status_code}")
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > MAX_KEYS_BYTES:
                    raise ValueError(f"more than {MAX_KEYS_BYTES:,} bytes")
        return bytes(content)


def _public_keys(content: bytes) -> tuple[Key, ...]:
    """Read the public keys of a key set, and nothing private of them.

    Raises:
        ValueError: It is not a key set, or has no usable key.
    """
    parsed = json.loads(content)
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"no JSON object with `keys`, a list of at most {MAX_KEYS}")
    keys = tuple(
        {name: value for name, value in key.items() if name in _PUBLIC_MEMBERS} for key in listed if _is_public_key(key)
    )
    if not keys:
        raise ValueError("no key for an algorithm with a public key")
    return keys


def _is_public_key(key: object) -> bool:
    """Tell whether a member of a key set is a key that can be used; one that is odd does not make the others so."""
    if not isinstance(key, dict) or not isinstance(key.get("key_ops", []), list):
        return False
    texts = [key.get("kty"), *(key[name] for name in ("kid", "use", "alg", "crv") if name in key)]
    return all(isinstance(text, str) for text in texts) and key["kty"] in {kty for kty, _ in _ALGORITHMS.values()}


class Tokens(TokenVerifier):
    """Verifies bearer tokens: the static one, and access tokens of an issuer.

    Args:
        static: The static token; None accepts none.
        scopes: Those that the static token has.
        issued: The access tokens of an issuer; None accepts none.
    """

    def __init__(self, static: SecretStr | None, scopes: tuple[str, ...], issued: "AccessTokens | None") -> None:
        self._static = None if static is None else static.get_secret_value().encode()
        self._scopes = scopes
        self._issued = issued

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return whom a token names; None if it is not valid.

        Raises:
            KeysUnavailableError: It cannot be told.
        """
        if self._static is not None and secrets.compare_digest(token.strip().encode(), self._static):
            return AccessToken(token="", client_id=STATIC_CALLER, scopes=list(self._scopes))
        return None if self._issued is None else await self._issued.verify(token.strip())


class OneToken(BearerAuthBackend):
    """Takes no request that has several tokens: a proxy and this server could see different callers in it."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, AuthenticatedUser] | None:
        """Return who calls; None for nobody."""
        if len(conn.headers.getlist("Authorization")) != 1:
            return None
        found: tuple[AuthCredentials, AuthenticatedUser] | None = await super().authenticate(conn)
        return found


class AccessTokens:
    """Access tokens of one issuer for one audience.

    Args:
        issuer: As tokens name it in `iss`, to the letter.
        audience: As tokens name this server in `aud`.
        keys: The issuer's.
    """

    def __init__(self, issuer: str, audience: str, keys: IssuerKeys) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys

    async def verify(self, token: str) -> AccessToken | None:
        """Return whom a token names; None if it is not valid.

        Raises:
            KeysUnavailableError: It cannot be told.
        """
        import jwt

        try:
            if len(token) > MAX_TOKEN_CHARS:
                raise jwt.InvalidTokenError("it is too long")
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            if algorithm not in _ALGORITHMS or "crit" in header:
                raise jwt.InvalidAlgorithmError(f"no algorithm with a public key, or critical headers: {header}")
            key = await self._keys.find(header.get("kid"), algorithm)
            if key is None:
                raise jwt.InvalidKeyError("no such key")
            return self._verified(token, key, algorithm)
        # What JSON of a stranger raises beside: numbers without an end, nesting without an end.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            _logger.info("Refused an access token: %s", type(error).__name__)
            return None

    def _verified(self, token: str, key: Key, algorithm: str) -> AccessToken:
        import jwt

        claims = jwt.decode(
            token,
            jwt.PyJWK(dict(key), algorithm),
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=CLOCK_SKEW_S,
            options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
        )
        subject, client, expires = claims["sub"], claims.get("client_id") or claims.get("azp") or "", claims["exp"]
        if not isinstance(subject, str) or not subject or not isinstance(client, str):
            raise jwt.InvalidTokenError("no subject")
        # PyJWT takes texts and booleans for numbers.
        if type(expires) not in (int, float) or expires > MAX_TIME:
            raise jwt.InvalidTokenError("no time of expiry")
        # The SDK would accept it for the rest of that second, PyJWT for the skew.
        if expires <= time.time():
            raise jwt.ExpiredSignatureError("it has expired")
        return AccessToken(
            token="",
            client_id=client,
            scopes=_scopes(claims.get("scope")) + _scopes(claims.get("scp")),
            expires_at=int(expires),
            resource=self._audience,
            subject=subject,
            claims={"iss": self._issuer, "sub": subject},
        )


def _scopes(claim: object) -> list[str]:
    """Read the claim `scope` or, as some issuers name it, `scp`: a text of words, or a list."""
    words = re.split(" +", claim) if isinstance(claim, str) else claim
    return [word for word in words if isinstance(word, str) and word] if isinstance(words, list) else []
