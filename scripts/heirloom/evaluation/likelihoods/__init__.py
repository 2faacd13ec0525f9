"""What a model thinks of held-out rows: their likelihoods, and the scores that follow from these."""
