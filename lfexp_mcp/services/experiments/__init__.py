"""Running experiments: preparing, launching and cancelling runs, and delivering what earlier runs left.

`run_experiment.run_experiment` is the way in.
"""
