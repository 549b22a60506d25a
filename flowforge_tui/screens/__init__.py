"""What a person goes between: the run, the launcher, plans, questions, help."""
