"""What is around the machine on a board: host link, memory, and the top of both."""
