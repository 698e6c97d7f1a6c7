"""What an implementation does, whatever it declares: identify, its semantics profile, its defaults, porting."""
