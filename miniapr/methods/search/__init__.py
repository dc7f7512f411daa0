"""Methods that grow a tree or a graph of thoughts, and decide between its steps where to go on.

A node is a branch: going on from it is a fork, which computes nothing again; pruning it is a release.
"""
