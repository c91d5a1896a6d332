"""The asyncio client: what has no blocking twin."""
