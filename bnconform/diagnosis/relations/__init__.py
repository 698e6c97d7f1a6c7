"""What was seen as a function of what is due, where no decision explains it: the family of relations, and what fits."""
