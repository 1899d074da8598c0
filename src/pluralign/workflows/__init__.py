"""Multi-stage jobs, which the command line, the demo and the experiments call."""
