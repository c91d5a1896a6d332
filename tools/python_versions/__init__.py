"""Other versions of Python for the tests: where they are, and their environments."""
