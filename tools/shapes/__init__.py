"""Development-only tools of the shapes demonstration model: scenes, questions, training, evaluation."""
