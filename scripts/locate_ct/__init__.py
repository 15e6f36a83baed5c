"""Builds the shipped package `models/locate_ct`, which sees where an image lies in the body."""
