"""Maintainers' benchmarks against peers."""
