"""What an endpoint is wanted for, and the answer in those terms."""
