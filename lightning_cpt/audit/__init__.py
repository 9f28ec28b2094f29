"""What the batches of a training hold: counts, and their table and page."""
