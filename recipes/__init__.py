"""The YAML recipes, shipped as a package so that `cpt fit --config NAME` finds them."""
