"""Experiments: each from nothing to a table, a plot and a paragraph, by one command."""
