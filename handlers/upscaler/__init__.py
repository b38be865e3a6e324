"""The type `upscaler`: a picture twice, four or eight times as wide and as high."""
