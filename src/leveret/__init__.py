"""Leveret: AMQP 0-9-1 for Python."""
