"""One file a client: `python -m bench.clients.pika --url ... --job publish`.

Each uses the quickest way that its library's documentation offers, and says so where there is a
choice.
"""
