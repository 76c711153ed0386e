"""The recipe engine: from a corpus to scores, in numbered stages."""

# Those of `espnet_ottc.recipe.corpora`, by name: the help of a command does not import their readers.
LAYOUTS = ("ami", "librispeech", "timit")
