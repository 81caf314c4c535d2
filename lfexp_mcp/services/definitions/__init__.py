"""Making what runs are made of: datasets and judges."""
