"""How the head and neck package is made."""
