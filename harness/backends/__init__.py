"""backends of the harness."""
