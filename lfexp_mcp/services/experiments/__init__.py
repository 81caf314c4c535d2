"""Making runs: requests, orders, starting, cancelling, and delivering what earlier runs left."""
