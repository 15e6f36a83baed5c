"""The DICOM node: images in, structure sets out, unattended."""
