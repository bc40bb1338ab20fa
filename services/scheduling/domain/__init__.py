"""What scheduling decides, and by which rules: pure, without clock, ids of its own, or I/O."""
