"""What a recipe will do with its data, worked out before any GPU is hired."""
