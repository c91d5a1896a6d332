"""What a type checker infers for a user: read by mypy, never run."""
