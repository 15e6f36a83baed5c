"""DICOM at the edge: series in, RTSTRUCT in and out, semantic conformance."""
