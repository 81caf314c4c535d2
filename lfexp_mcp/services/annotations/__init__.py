"""What people said and scored."""
