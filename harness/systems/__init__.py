"""systems of the harness."""
