"""Exercises that check themselves: `miniapr learn`."""
