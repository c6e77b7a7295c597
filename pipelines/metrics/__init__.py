"""How good audio is: distances of reconstructions to originals, and of sets of audio to each other."""
