"""The package `head_ct_small`: eyes, optic pathway and cochleae on fine voxels."""
