"""What a message costs, counted instead of timed: see count.py."""
