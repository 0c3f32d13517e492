"""The local page to look at labels and correct them."""
