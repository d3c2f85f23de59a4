"""What the course needs around the library: data, tasks, figures, widgets, exercises."""
