"""What a run writes down: logs, checkpoints, unreadable videos and the results of a test."""
