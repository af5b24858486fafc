"""What an administrator does from a command line, a module for each kind of command."""
