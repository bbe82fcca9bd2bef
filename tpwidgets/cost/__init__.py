"""What tokens cost: by price lists, on one's own machines, and from which volume on which pays."""
