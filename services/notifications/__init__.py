"""The notifications house: what leaves the building, to whom, when, in which words."""
