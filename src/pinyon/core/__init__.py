"""What a memory is: the cube and its parts, without I/O and without models."""
