"""What becomes of a run: the JSON result with its schema, and the matrix in the terminal. Imports nothing of ours."""
