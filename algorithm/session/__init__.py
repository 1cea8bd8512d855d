"""A model's state while a policy is attached: its passes, its tokens, their codes, their cost."""
