"""Auto-contouring for stereotactic radiotherapy: a folder of images becomes a proven RTSTRUCT."""

__version__ = "0.1.0"
