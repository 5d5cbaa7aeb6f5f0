"""Recipes that chain the stages."""
