"""Mixed targets: coins choose which conditional of the base model decodes the next token (Section 3.2, Eq. 4)."""
