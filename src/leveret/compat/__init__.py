"""Leveret in the place of other libraries."""
