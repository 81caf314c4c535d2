"""Running experiments: preparing, launching, cancelling, and delivering what earlier runs left."""
