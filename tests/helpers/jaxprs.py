"""What a traced function computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

HIGHEST = str((jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST))  # float32 on any accelerator


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def product_precisions(jaxpr: Any) -> list[str]:
    """The precision of every convolution and product of matrices in a jaxpr."""
    products = ("dot_general", "conv_general_dilated")
    return [str(each.params["precision"]) for each in equations(jaxpr) if each.primitive.name in products]
