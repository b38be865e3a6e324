"""The type `card-grader`: a trading card found in a photograph, laid straight and measured."""
