"""Text: words in any script, one-line snippets, and text files of any encoding."""
