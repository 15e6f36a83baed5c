"""Builds the shipped package `models/thorax_ct` from public data."""
