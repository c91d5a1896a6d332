"""Tests of the protocol layer: two state machines and no socket."""
