"""What `gate()` is made of: the formats of inboxes, and the way from decisions back to threads."""
