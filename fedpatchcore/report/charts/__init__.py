"""One chart a module: numbers in, shapes out; `chart.html.j2` draws them."""
