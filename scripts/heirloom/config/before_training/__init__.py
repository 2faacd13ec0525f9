"""What is computed before a training, once for all that want the same: packed rows, and what a reference gives them."""
