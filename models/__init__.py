"""What is learned: features, scorers, predictors. Empty until the first of them."""
