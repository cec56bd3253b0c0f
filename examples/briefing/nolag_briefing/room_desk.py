"""The desk of an agent in a room: search and documents are tools that another process serves, the board and the log are the room's."""
