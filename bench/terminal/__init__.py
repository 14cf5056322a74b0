"""What verbs and plug-in commands share: output, and the options and choices that several of them take."""
