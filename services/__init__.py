"""Five deciding services and two readers, each a house of its own; none imports another."""
