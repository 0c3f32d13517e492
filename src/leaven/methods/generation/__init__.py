"""Methods that make pictures: from words, or from other pictures."""
