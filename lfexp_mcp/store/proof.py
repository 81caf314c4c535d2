"""How a store's process proves on a connection that it has the store's secret, before anybody sends it.

A client sends a random challenge to the health route, which needs no keys; the answer holds an HMAC (RFC 2104) of it
and of the port that was asked, under the secret key. Whoever has bound the port of a store that has ended cannot make
it, nor get it from the store that has taken its place: that one proves another port. A proof holds for one connection.
"""

import hmac
import re
import secrets

CHALLENGE_HEADER = "x-lfexp-challenge"
PROOF_HEADER = "x-lfexp-proof"
_PURPOSE = "lfexp store proof"
_CHALLENGE = re.compile("[0-9a-f]{32}")


def new_challenge() -> str:
    """Make a challenge that was never sent before."""
    return secrets.token_hex(16)


def prove(secret_key: str, challenge: str, port: int) -> str | None:
    """Answer a challenge; None where it is not of the form that `new_challenge` makes."""
    if _CHALLENGE.fullmatch(challenge) is None:
        return None
    message = f"{_PURPOSE}\n{challenge}\n{port}"
    return hmac.digest(secret_key.encode(), message.encode(), "sha256").hex()


def is_proven(secret_key: str, challenge: str, port: int, proof: str | None) -> bool:
    """Whether a proof answers a challenge of ours, given at a port."""
    expected = prove(secret_key, challenge, port)
    return proof is not None and expected is not None and hmac.compare_digest(proof.encode(), expected.encode())
