"""The compiled twin of `exchange`."""

from .exchange import ask as ask
from .exchange import publish as publish

#: A fingerprint of the sources that this was built from.
BUILT_FROM: int
