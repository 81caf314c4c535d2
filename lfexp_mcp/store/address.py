"""Where the store's process answers, and how it proves that it is the store before anybody sends it keys.

A client sends a random challenge to the health route, which needs no keys. The answer holds an HMAC (RFC 2104) of the
challenge and of the port that was asked, under the secret key. A process that has bound the port of a stopped store
cannot compute it, nor relay it from the store that replaced it: that store proves another port. A proof holds for one
connection.
"""

import hmac
import re
import secrets

API = "/api/public"
HEALTH = f"{API}/health"
ITEM_LISTS = "/embedded/dataset-items"
"""Below `API`: takes many dataset items in one request, as no Langfuse server does."""

MEDIA_CONTENT = "/embedded/media"
"""Below `API`: where contents are uploaded and downloaded, by a signature in the URL."""

FORMAT = 1
"""What a store and its clients agree on: the file's schema, the routes, the proof. Versions of lfexp-mcp that agree
share one process, whichever started it; an incompatible change takes the next number."""
ANNOUNCEMENT = f"server-{FORMAT}.json"
"""File in a store's folder that tells where its process answers, while it runs."""
PORT_FILE = "port"
"""File in a store's folder that keeps the port to prefer at the next start."""

CHALLENGE_HEADER = "x-lfexp-challenge"
PROOF_HEADER = "x-lfexp-proof"
_PURPOSE = "lfexp store proof"
_CHALLENGE = re.compile("[0-9a-f]{32}")


def sign_media(secret_key: str, media_id: str) -> str:
    """Return what lets those who know it upload and download one content."""
    return hmac.digest(secret_key.encode(), f"lfexp store media\n{media_id}".encode(), "sha256").hex()


def new_challenge() -> str:
    """Make a random challenge."""
    return secrets.token_hex(16)


def prove(secret_key: str, challenge: str, port: int) -> str | None:
    """Answer a challenge; None if it does not have the form that `new_challenge` makes."""
    if _CHALLENGE.fullmatch(challenge) is None:
        return None
    message = f"{_PURPOSE}\n{challenge}\n{port}"
    return hmac.digest(secret_key.encode(), message.encode(), "sha256").hex()


def is_proven(secret_key: str, challenge: str, port: int, proof: str | None) -> bool:
    """Whether a proof answers our challenge to a port."""
    expected = prove(secret_key, challenge, port)
    return proof is not None and expected is not None and hmac.compare_digest(proof.encode(), expected.encode())
