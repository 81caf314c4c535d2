"""Statistics of runs: pairs, proportions, power, agreement. Pure; SciPy is imported on use."""
