"""The tests. A package, so that the helpers in `tests.support` have a name."""
