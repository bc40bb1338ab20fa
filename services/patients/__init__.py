"""The patients house: who the patient is, who cares for them, what they agreed to."""
