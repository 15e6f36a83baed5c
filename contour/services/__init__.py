"""Long-lived processes around the pipeline."""
