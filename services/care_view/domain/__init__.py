"""What the care view knows of medicine: the bands that a score is drawn over. Pure; nothing is decided here."""
