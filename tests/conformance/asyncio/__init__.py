"""Behaviour that both clients show on every broker."""
