"""Functions of single elements: of angles, hyperbolic ones, and questions about numbers."""

import numpy as np

from edgepress.translate.written.body import Body, Writer


def _tan(b: Body) -> None:
    (x,) = b.inputs
    b.gives("Div", b("Sin", x), b("Cos", x))


def _asin(b: Body) -> None:
    """The angle whose sine is x has the tangent x/√((1 − x)(1 + x)), infinite at 1."""
    (x,) = b.inputs
    cosine = b("Sqrt", b("Mul", b("Sub", b.number(1), x), b("Add", x, b.number(1))))
    b.gives("Atan", b("Div", x, cosine))


def _acos(b: Body) -> None:
    """Half of the angle has the tangent √((1 − x)/(1 + x)), which is exact around 1."""
    (x,) = b.inputs
    tangent = b("Sqrt", b("Div", b("Sub", b.number(1), x), b("Add", x, b.number(1))))
    b.gives("Mul", b("Atan", tangent), b.number(2))


def _sinh(b: Body) -> None:
    """(m + m/e^−|x|)/2 with m = 1 − e^−|x| by Elu: exact around 0, where e^x − e^−x is not."""
    (x,) = b.inputs
    below = b("Neg", b("Abs", x))
    m = b("Neg", b("Elu", below))
    twice = b("Add", m, b("Div", m, b("Exp", below)))
    b.gives("Mul", b("Mul", b("Sign", x), twice), b.number(0.5))


def _cosh(b: Body) -> None:
    (x,) = b.inputs
    b.gives("Mul", b("Add", b("Exp", x), b("Exp", b("Neg", x))), b.number(0.5))


def _asinh(b: Body) -> None:
    """log(|x| + √(x² + 1)) with the sign of x."""
    (x,) = b.inputs
    size = b("Abs", x)
    root = b("Sqrt", b("Add", b("Mul", x, x), b.number(1)))
    b.gives("Mul", b("Sign", x), b("Log", b("Add", size, root)))


def _acosh(b: Body) -> None:
    (x,) = b.inputs
    root = b("Sqrt", b("Mul", b("Sub", x, b.number(1)), b("Add", x, b.number(1))))
    b.gives("Log", b("Add", x, root))


def _atanh(b: Body) -> None:
    (x,) = b.inputs
    quotient = b("Div", b("Add", x, b.number(1)), b("Sub", b.number(1), x))
    b.gives("Mul", b("Log", quotient), b.number(0.5))


def _is_nan(b: Body) -> None:
    """What is neither at most 0 nor above: x ≠ x would be taken for false by optimisers."""
    (x,) = b.inputs
    number = b("Or", b("Greater", x, b.number(0)), b("Less", x, b.number(1)))
    b.gives("Not", number)


def _is_inf(b: Body) -> None:
    (x,) = b.inputs
    positive, negative = (b.attributes.get(f"detect_{sign}", 1) for sign in ("positive", "negative"))
    if positive and negative:
        b.gives("Equal", b("Abs", x), b.number(np.inf))
    elif positive or negative:
        b.gives("Equal", x, b.number(np.inf if positive else -np.inf))
    else:
        b.gives("And", b("Greater", x, b.number(0)), b("Less", x, b.number(0)))


def _cast_like(b: Body) -> None:
    b.gives("Cast", b.inputs[0], to=b.type(1))


WRITERS: dict[str, Writer] = {
    "CastLike": _cast_like,
    "Tan": _tan,
    "Asin": _asin,
    "Acos": _acos,
    "Sinh": _sinh,
    "Cosh": _cosh,
    "Asinh": _asinh,
    "Acosh": _acosh,
    "Atanh": _atanh,
    "IsNaN": _is_nan,
    "IsInf": _is_inf,
}
