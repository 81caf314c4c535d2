"""Statistics of runs: paired differences, proportions, subgroups, agreement of raters, power.

Pure functions on numbers, each with the source of its method. NumPy and SciPy are imported on use.
"""
