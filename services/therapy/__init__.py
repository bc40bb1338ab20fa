"""The therapy house: courses of therapy, sessions, measures, risk."""
