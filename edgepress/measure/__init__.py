"""Figures of a single model: accuracy on the host, sizes, weight statistics."""
