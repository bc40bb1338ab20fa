"""What every service needs and no clinician has heard of."""
