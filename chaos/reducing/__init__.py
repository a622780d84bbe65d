"""What `chaos.reduce` is made of: costs, passes, and the changes that they try."""
