"""One section of the page a module: a `Story` in, plain values out; a template draws them."""
