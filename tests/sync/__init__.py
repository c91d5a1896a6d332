"""The blocking client: what has no twin in asyncio."""
