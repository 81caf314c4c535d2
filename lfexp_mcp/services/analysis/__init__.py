"""Looking into one run."""
