"""A folder of thousands of studies, drawn as jobs: `search` finds the series, `run` submits them, `summary` tells."""
