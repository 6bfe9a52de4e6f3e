"""Who can log in to the demonstration."""

USERNAMES = ("alice", "bob")
STAFF = ("alice",)
PASSWORD = "wonderland"
