"""Where the store's process answers."""

LOOPBACK = "127.0.0.1"
API = "/api/public"
HEALTH = f"{API}/health"

FORMAT = 1
"""What a store and those who use it agree on: the file's schema, the routes, the proof. Versions of lfexp-mcp that
agree share one process, whichever started it; a change that others could not live with takes the next number."""
ANNOUNCEMENT = f"server-{FORMAT}.json"
"""The file in a store's folder that tells where its process answers, while it does."""
PORT_FILE = "port"
"""The file in a store's folder that keeps the port to prefer at the next start."""
