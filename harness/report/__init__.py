"""What was found, as text for a terminal and as a page of its own."""
