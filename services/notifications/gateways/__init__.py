"""Where messages leave the building: the list of what is to leave, consent, the mail server, and who walks between."""
