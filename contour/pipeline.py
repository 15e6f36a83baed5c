"""One image from folder to RTSTRUCT."""
