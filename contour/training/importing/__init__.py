"""Networks that others trained become packages of ours: weights are read, never code."""
