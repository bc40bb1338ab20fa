"""What notifications decides, and in which words it writes: pure, without clock, ids of its own, or I/O."""
