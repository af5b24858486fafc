"""The program in the city: it checks, stores and shows what devices released."""
