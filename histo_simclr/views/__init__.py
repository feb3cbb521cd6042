"""Views of patches, made on the device: pure functions of (key, array, numbers).

Inside this package pictures are *row planes*: (B, H, 3, W), each row holding its red, green and
blue values one after the other. Resampling is then two batched matrix products without a single
transposition, and colors are contiguous runs of a row. Knows nothing of files, flags, configs,
devices or TensorFlow.
"""
