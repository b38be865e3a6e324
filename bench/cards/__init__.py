"""Pictures of cards whose geometry is known exactly, by two renderers that share no drawing code.

`painted` (numpy and OpenCV) is what the finder may be tuned on; `drawn` (Pillow) is the test half.
"""
