"""Where the store's process answers, and how it is told apart from whoever listens on its port next."""

LOOPBACK = "127.0.0.1"
API = "/api/public"
HEALTH = f"{API}/health"
INSTANCE_HEADER = "x-lfexp-store"
"""The header of every answer that names the process."""
