"""What generates. One file an engine; each imports its own library only when it is made."""
