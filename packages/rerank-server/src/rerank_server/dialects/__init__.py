"""Wire languages, one a file. Pure: a decoded body in, a neutral question out; scores in, a body out."""
