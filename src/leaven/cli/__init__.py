"""The commands. Each file here is one; ``main`` loads it when it is called."""
