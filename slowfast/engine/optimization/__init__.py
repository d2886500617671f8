"""From losses to the next weights: steps, their guard, optimisers, learning rates, averages."""
