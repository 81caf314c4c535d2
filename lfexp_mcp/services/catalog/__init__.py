"""Reading what a project has to run experiments with: its datasets and judges."""
