"""What a page shows of a training that learned from rewards."""
