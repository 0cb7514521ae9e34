"""What is learned as the run goes: weights of candidates, shared drift, reward scale."""
