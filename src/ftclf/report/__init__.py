"""What people read: page, plots, model card and leaderboard of runs; of a data set, the page of `ftclf check`."""
