"""What a person can type: a file for each command, with its options and what it does. Only here is anything printed."""
