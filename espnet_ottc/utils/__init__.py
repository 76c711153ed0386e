"""What every room uses: files, progress, provenance.  Standard library alone at import."""
