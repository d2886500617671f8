"""The processes of a run: where they stand, how they meet, exchange, start and end."""
