"""How a group of layers is cut to fit L1: geometry of the steps, their cost, and the search for the best."""
