"""What `import adln` offers; each name is imported when it is first used."""
