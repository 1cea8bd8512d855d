"""Tasks with labels: where their data are, how a model is scored on them."""
