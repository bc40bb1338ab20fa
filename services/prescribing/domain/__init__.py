"""What prescribing decides, and by which rules. Pure: no clock, no new ids, no I/O."""
