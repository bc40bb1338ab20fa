"""The language on the wire: facts, their attributes, topics, roles. Imports nothing of ours but itself."""
