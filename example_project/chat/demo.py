"""Who can log in to the demonstration."""

USERNAMES = ("alice", "bob")
PASSWORD = "wonderland"
