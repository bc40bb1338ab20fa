"""The scheduling house: what is owed to a patient, by when, and what answered it."""
