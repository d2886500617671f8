"""Small modules with plain arguments, the parts of the networks."""
