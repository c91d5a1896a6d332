"""Tests of what both clients share, without their transports."""
