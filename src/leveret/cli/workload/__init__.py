"""A job for a broker, and the proof that it was done.

Publishers send numbered messages with confirms, consumers take and acknowledge them, and a
`Ledger` keeps a mark for each number. `blocking` and `asynchronous` do the same job with the two
clients; `Watch` tells both when to stop.
"""
