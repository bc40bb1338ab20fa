"""What makes a chain of facts whole, and what is told of one that is not. Pure."""
