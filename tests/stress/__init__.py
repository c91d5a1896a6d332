"""Load, large bodies, cut connections: the clients at their limits."""
