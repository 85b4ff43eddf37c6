"""Benchmarks: side by side in one run, compared as ratios. Never part of the tests."""
