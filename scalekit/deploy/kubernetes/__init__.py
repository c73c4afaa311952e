"""``scalekit deploy kubernetes`` and ``scalekit deploy helm``: the same objects, with values or as templates."""
