"""What BatchNorm must do: the requirement catalogue, the behaviour space, the oracle and the error bounds."""
