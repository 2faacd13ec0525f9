"""Keys of one section that do not fit each other, or what stands beside the section: each a sentence at its key."""
