# Made by tools/async_to_sync.py from conformance/asyncio/__init__.py: change it there.
"""Behaviour that both clients show on every broker."""
