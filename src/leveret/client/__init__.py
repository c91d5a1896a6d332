"""What the blocking and the asyncio client share. No I/O, no thread, no event loop in here."""
