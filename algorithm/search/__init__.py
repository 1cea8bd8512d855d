"""Search for the ratios of a policy: Bayesian, resumable, shared by any number of workers."""
