"""`cpt leaderboard`: our results beside the published ones, as one page and one markdown table."""
