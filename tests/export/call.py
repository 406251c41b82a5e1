# A user of exported kernels from Python. The folder with the wrappers is the first argument; it holds what Fluxion computes itself,
# as raw numbers. A line "skipped: ..." for each package that is not there.
import os
import sys

folder = sys.argv[1]
sys.path.insert(0, folder)
import numpy as np

import blur
import plain
import relax

N, ROWS, COLUMNS = 37, 9, 21


def expected(name, dtype):
    return np.fromfile(os.path.join(folder, name + ".raw"), dtype)


i = np.arange(N)
x = (0.5 + 0.03125 * (i % 64)).astype(np.float32)
y0 = (1.0 - 0.0625 * (i % 32)).astype(np.float32)
trips = (i % 7).astype(np.int32)
a = 0.125


class Foreign:
    """An array of another library: DLPack is all it has."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **more):
        return self.array.__dlpack__(**more)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


# ---- in place, zero-copy
y, e = y0.copy(), np.full(1, 0.25)
relax.relax(x, y, a, e, trips)
assert np.array_equal(y, expected("y", np.float32)), "y"
assert np.array_equal(e, expected("e", np.float64)), "e"
y, e = y0.copy(), np.full(1, 0.25)
relax.relax(Foreign(x), Foreign(y), a, e, trips, domain=N)
assert np.array_equal(y, expected("y", np.float32)), "y through DLPack"

# ---- as a function, and its gradient
y1, e1 = relax.relax.value(x, y0, a, np.full(1, 0.25), trips)
assert np.array_equal(y1, y) and np.array_equal(e1, e) and not np.array_equal(y0, y)
y_bar = (1.0 + 0.25 * (i % 4)).astype(np.float32)
e_bar = np.full(1, 0.5)
g = relax.relax.gradient([x, y0, a, np.full(1, 0.25), trips], [y_bar, e_bar])
assert np.array_equal(g[0], expected("x_bar", np.float32)), "x_bar"
assert np.array_equal(g[1], expected("y_bar", np.float32)), "y_bar"
assert np.array_equal(g[2], expected("a_bar", np.float32)[0]), "a_bar"
assert np.array_equal(g[3], e_bar) and g[4] is None

k = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
u = (0.015625 * (k * 7 % 64)).astype(np.float32)
out_bar = (1.0 - 0.03125 * (k % 48)).astype(np.float32)
(out,) = blur.blur.value(u, np.zeros_like(u))
assert np.array_equal(out.ravel(), expected("out", np.float32)), "out"
gradients = blur.blur.gradient([u, np.zeros_like(u)], [out_bar])
assert np.array_equal(gradients[0].ravel(), expected("u_bar", np.float32)), "u_bar"


# ---- what does not fit
def refused(kind, text, f, *arguments, **more):
    try:
        f(*arguments, **more)
    except kind as error:
        assert text in str(error), str(error)
        return
    raise AssertionError("nothing was raised: " + text)


read_only = y0.copy()
read_only.flags.writeable = False
refused(TypeError, "float32", relax.relax, x.astype(np.float64), y, a, e, trips)
refused(TypeError, "contiguous", relax.relax, np.repeat(x, 2)[::2], y, a, e, trips)
refused(TypeError, "read-only", relax.relax, x, read_only, a, e, trips)
refused(TypeError, "5 arguments", relax.relax, x, y, a)
refused(TypeError, "an array is wanted", relax.relax, 1.0, y, a, e, trips)
refused(relax.Error, "of \"y\" is reached", relax.relax, x, y[:5].copy(), a, e, trips, domain=N)
x[20] = 1000
refused(relax.Error, "export.cpp:", relax.relax, x, y0.copy(), a, e, trips)
x[20] = 0.5 + 0.03125 * 20
e = np.full(1, 0.25)
refused(TypeError, "5 arguments", relax.relax.value, x, y0, a)
refused(TypeError, "5 arguments", relax.relax.gradient, [x, y0, a], [y_bar, e_bar])
refused(TypeError, "2 cotangents", relax.relax.gradient, [x, y0, a, e, trips], [y_bar])
refused(TypeError, "2 cotangents", relax.relax.gradient, [x, y0, a, e, trips], [y_bar, e_bar, e_bar])
refused(TypeError, "(2,), but \"e\" has (1,)", relax.relax.gradient, [x, y0, a, e, trips], [y_bar, np.full(2, 0.5)])

# ---- numbers: none is cut off
made = np.zeros(1, np.float32)
plain.plain(made, np.bool_(True), np.int8(-3), 0.0)
assert made[0] == 997
plain.plain(made, False, 0, 0.1)
assert made[0] == 0.10009765625, "the bf16 next to 0.1"
refused(TypeError, "i: ", plain.plain, made, True, 2.7, 0.0)
refused(OverflowError, "i: ", plain.plain, made, True, 2**32 + 5, 0.0)
refused(OverflowError, "b: ", plain.plain, made, 2, 0, 0.0)

# ---- the other libraries
if relax.torch is None:
    print("skipped: the torch function of an exported kernel (torch is not installed)")
else:
    import torch

    tx, ty, ta = torch.tensor(x, requires_grad=True), torch.tensor(y0, requires_grad=True), torch.tensor(a, requires_grad=True)
    ry, re = relax.torch_call(tx, ty, ta, torch.full((1,), 0.25, dtype=torch.float64), torch.tensor(trips))
    ((ry * torch.tensor(y_bar)).sum() + 0.5 * re.sum()).backward()
    assert np.array_equal(tx.grad.numpy(), expected("x_bar", np.float32)), "torch x_bar"
    assert np.array_equal(ty.grad.numpy(), expected("y_bar", np.float32)), "torch y_bar"
    assert np.array_equal(ta.grad.numpy(), expected("a_bar", np.float32)[0]), "torch a_bar"
if relax.jax is None:
    print("skipped: the jax function of an exported kernel (jax is not installed)")
else:
    import jax

    @jax.jit
    def loss(u):
        (out,) = blur.jax_call(u, jax.numpy.zeros_like(u))
        return (out * out_bar).sum()

    assert np.array_equal(np.asarray(jax.grad(loss)(u)).ravel(), expected("u_bar", np.float32)), "jax u_bar"
print("numpy", np.__version__, "ok")
