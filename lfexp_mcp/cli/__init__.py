"""The shell: the same services as the tools, for people and for CI."""
