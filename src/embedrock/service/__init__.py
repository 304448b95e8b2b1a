"""What is promised whatever the face: N inputs, N right vectors, in order, or one clear error."""
