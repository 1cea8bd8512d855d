"""One attention block on batches of a model: exactly on integers, or fast in PyTorch."""
