"""What people read of finished runs: the HTML page, plots, the model card and the leaderboard of several runs."""
