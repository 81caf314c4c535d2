"""Reading runs: listing, following and describing them, and interpreting their scores.

`read_run.read_run` reads any run, from its journal on this machine, from Langfuse, or from both.
"""
