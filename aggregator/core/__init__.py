"""Pure rules of the city: accept, refuse, roll up. Time comes in as an argument."""
