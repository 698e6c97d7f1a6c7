"""What a failing implementation does instead: the search of the behaviour space, causes, failure conditions."""
