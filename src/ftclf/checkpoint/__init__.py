"""What starts from a saved model: its format, evaluation, predictions and merging."""
