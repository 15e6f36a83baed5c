"""From voxels to contours and back: resampling, preprocessing, tracing, rasterising, post-processing, metrics."""
