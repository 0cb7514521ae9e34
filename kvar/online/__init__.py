"""What is learned during a run: weights of predictors, shared drift, reward scale, running moments."""
