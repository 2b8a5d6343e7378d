"""What a model knows and what it kept: in-domain accuracy and forgetting."""
