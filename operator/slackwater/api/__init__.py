"""What users write: the four resources at the wire, and their way into the core and back."""
