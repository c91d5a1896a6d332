"""One suite over both clients and every broker: `asyncio/` is written, `sync/` made of it."""
