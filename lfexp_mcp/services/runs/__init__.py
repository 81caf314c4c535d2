"""Reading runs: their results, their values, and how they stand."""
