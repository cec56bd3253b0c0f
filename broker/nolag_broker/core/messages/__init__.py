"""Messages: directed ones, those on topics, and how far their readers have come."""
