"""`lore-lab plan`: what a command needs of a GPU, told beforehand by arithmetic. Imports no torch."""
