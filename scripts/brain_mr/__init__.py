"""Builds the shipped package `models/brain_mr` from public data."""
