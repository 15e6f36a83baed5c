"""Builds the shipped package `models/spine_ct` from public data."""
