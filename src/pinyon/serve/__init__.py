"""The edges: the command line, made from one table of verbs."""
