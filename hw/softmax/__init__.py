"""The integer softmax in three passes, and the normalizer behind the value array."""
