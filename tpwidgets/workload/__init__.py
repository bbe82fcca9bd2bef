"""What is asked, how much of it at once or per second, and where to stop."""
