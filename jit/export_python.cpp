// The Python wrapper of an exported kernel: one module that needs NumPy, and a C compiler the first time, when it makes a shared library
// of the object for this processor. Torch and jax are used when they are there.
#include <fmt/format.h>

#include "export.h"

namespace fluxion::detail {
namespace {

constexpr std::string_view kModule = R"PY("""@NAME@: written by Fluxion. See call(), @NAME@.value and @NAME@.gradient below."""
import ctypes
import json
import operator
import os
import platform
import subprocess
import tempfile

import numpy as np

SIGNATURE = json.loads(r'''
@JSON@''')

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_TYPES = {"bool": np.bool_, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "u8": np.uint8, "u16": np.uint16,
          "u32": np.uint32, "u64": np.uint64, "f16": np.float16, "bf16": np.uint16, "f32": np.float32, "f64": np.float64}
_SCALARS = {"bool": ctypes.c_uint8, "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
            "u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64, "f16": ctypes.c_uint16,
            "bf16": ctypes.c_uint16, "f32": ctypes.c_float, "f64": ctypes.c_double}


def _features():
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return set(line.split(":")[1].split())
    except OSError:
        pass
    return None


def _object():
    """The object with the most demands that this processor meets."""
    has, best = _features(), None
    for file in SIGNATURE["files"]:
        if file.get("machine") != platform.machine():
            continue
        if has is not None and not set(file["needs"]) <= has:
            continue
        if best is None or len(file["needs"]) > len(best["needs"]):
            best = file
    if best is None:
        raise ImportError(f"{SIGNATURE['name']}: no object here is for this processor ({platform.machine()}); export it for one of "
                          "its targets")
    return os.path.join(_FOLDER, best["file"])


def _load():
    source = _object()
    library = source[:-2] + ".so"
    if not os.path.exists(library) or os.path.getmtime(library) < os.path.getmtime(source):
        folder = _FOLDER if os.access(_FOLDER, os.W_OK) else tempfile.mkdtemp()
        library = os.path.join(folder, os.path.basename(library))
        draft = f"{library}.{os.getpid()}"
        command = [os.environ.get("CC", "cc"), "-shared", "-o", draft, source, "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise ImportError(f"{SIGNATURE['name']}: a C compiler is needed once, to run: {' '.join(command)}") from None
        except subprocess.CalledProcessError as error:
            raise ImportError(f"{SIGNATURE['name']}: {' '.join(command)}: {error.stderr}") from None
        os.replace(draft, library)
    return ctypes.CDLL(library)


_library = _load()


class Error(RuntimeError):
    """What the kernel or its arguments have wrong; `status` is 1 for the kernel, 2 for the arguments, 3 for no memory."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def _dtype(p):
    if p["components"] > 0:
        return np.dtype(_TYPES[p["leaves"][0][0]])
    return np.dtype({"names": [f"f{k}" for k in range(len(p["leaves"]))], "formats": [_TYPES[t] for t, _ in p["leaves"]],
                     "offsets": [o for _, o in p["leaves"]], "itemsize": p["element_bytes"]})


def _array(p, x):
    """`x` as a NumPy array on the same memory: NumPy, or anything with DLPack that is on the CPU."""
    if not isinstance(x, np.ndarray):
        x = x.detach() if hasattr(x, "detach") else x
        if not hasattr(x, "__dlpack__"):
            raise TypeError(f"{p['name']}: an array is wanted, not {type(x).__name__}")
        x = np.from_dlpack(x)
    elif p["role"] != "in" and not x.flags.writeable:
        raise TypeError(f"{p['name']} is written, but the array is read-only")
    dtype, axes = _dtype(p), p["rank"] + (1 if p["components"] > 1 else 0)
    if x.dtype != dtype or x.ndim != axes or (p["components"] > 1 and x.shape[-1] != p["components"]):
        last = f" with a last axis of {p['components']}" if p["components"] > 1 else ""
        raise TypeError(f"{p['name']}: {axes} axes of {dtype}{last} are wanted, not {x.ndim} of {x.dtype} with shape {x.shape}")
    if not x.flags.c_contiguous:
        raise TypeError(f"{p['name']} is not contiguous; pass numpy.ascontiguousarray of it")
    return x


def _number(p, x):
    """`x` for ctypes, which would wrap integers silently."""
    t = p["type"]
    if t in ("f32", "f64"):
        return x
    if t == "f16":
        return int(np.float16(x).view(np.uint16))
    if t == "bf16":  # to the nearest, of two the even one
        bits = int(np.float32(x).view(np.uint32))
        return 0x7FC0 if np.isnan(x) else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    try:
        n = int(x) if isinstance(x, np.bool_) else operator.index(x)
    except TypeError:
        raise TypeError(f"{p['name']}: a whole number is wanted, not {x!r}") from None
    if _SCALARS[t](n).value != n or (t == "bool" and n not in (0, 1)):
        raise OverflowError(f"{p['name']}: {n} is no {t}")
    return n


def _is_float(p):
    return any(t in ("f16", "bf16", "f32", "f64") for t in ([p["type"]] if p["kind"] == "scalar" else [t for t, _ in p["leaves"]]))


def _float_of(p):
    """Of gradients and cotangents: those of 16 bits are f32."""
    t = p["type"] if p["kind"] == "scalar" else p["leaves"][0][0]
    return np.float64 if t == "f64" else np.float32


class Function:
    """One kernel. Calling it works in place: f(*arguments, domain=None), arguments in the order of the parameters."""

    def __init__(self, about):
        self.about, self.name, self.parameters = about, about["name"], about["parameters"]
        self.__doc__ = f"{self.name}({', '.join(p['name'] for p in self.parameters)}, domain=None)"
        fields, at = [("domain", ctypes.c_int64 * about["rank"])], 8 * about["rank"]
        for p in self.parameters:
            if p["kind"] == "scalar":
                fields.append((p["name"], _SCALARS[p["type"]]))
            else:
                fields += [(p["name"], ctypes.c_void_p), (p["name"] + "_extent", ctypes.c_int64 * p["rank"])]
        self._struct = type(self.name + "_args", (ctypes.Structure,), {"_fields_": fields})
        for p in self.parameters:
            assert getattr(self._struct, p["name"]).offset == p["offset"]
        self._call = getattr(_library, self.name)
        self._call.argtypes = [ctypes.POINTER(self._struct), ctypes.c_char_p, ctypes.c_size_t]
        self._call.restype = ctypes.c_int
        self.derivatives = {}

    def _count(self, arguments):
        if len(arguments) != len(self.parameters):
            raise TypeError(f"{self.__doc__} takes {len(self.parameters)} arguments, not {len(arguments)}")

    def __call__(self, *arguments, domain=None):
        self._count(arguments)
        args, keep = self._struct(), []
        for p, x in zip(self.parameters, arguments):
            if p["kind"] == "scalar":
                setattr(args, p["name"], _number(p, x))
                continue
            x = _array(p, x)
            keep.append(x)
            setattr(args, p["name"], x.ctypes.data)
            setattr(args, p["name"] + "_extent", (ctypes.c_int64 * p["rank"])(*x.shape[:p["rank"]]))
        rank = self.about["rank"]
        if domain is None:
            if self.about["domain_from"] is None:
                raise TypeError(f"{self.name}: no array has the axes of the domain; pass domain=")
            domain = tuple(getattr(args, self.parameters[self.about["domain_from"]]["name"] + "_extent"))
        elif np.ndim(domain) == 0:
            domain = (domain,)
        if len(domain) != rank:
            raise TypeError(f"{self.name}: the domain has {rank} axes, not {len(domain)}")
        args.domain = (ctypes.c_int64 * rank)(*domain)
        message = ctypes.create_string_buffer(1024)
        status = self._call(ctypes.byref(args), message, len(message))
        if status != 0:
            raise Error(status, message.value.decode(errors="replace"))

    def _written(self):
        return [k for k, p in enumerate(self.parameters) if p["kind"] == "array" and p["role"] != "in"]

    def value(self, *arguments, domain=None):
        """Leaves the arguments as they are, and gives what the kernel makes of those that it writes."""
        self._count(arguments)
        arguments = list(arguments)
        for k in self._written():
            arguments[k] = np.array(_array(dict(self.parameters[k], role="in"), arguments[k]), copy=True)
        self(*arguments, domain=domain)
        return tuple(arguments[k] for k in self._written())

    def gradient(self, arguments, cotangents, domain=None):
        """For each argument the gradient of sum(cotangent * result), the results being those of value(); None for integers."""
        if "vjp" not in self.derivatives:
            raise TypeError(f"{self.name} was exported without its derivative; export it with {{.vjp = true}}")
        vjp, of = self.derivatives["vjp"], {p["name"]: k for k, p in enumerate(self.parameters)}
        self._count(arguments)
        written = self._written()
        if len(cotangents) != len(written):
            names = ", ".join(self.parameters[k]["name"] for k in written)
            raise TypeError(f"{self.name}: {len(written)} cotangents are wanted, of {names}, not {len(cotangents)}")
        bar = dict(zip(written, cotangents))
        for k, p in enumerate(self.parameters):
            if k in bar and _is_float(p) and np.shape(bar[k]) != np.shape(arguments[k]):
                raise TypeError(f"{self.name}: a cotangent has the shape {np.shape(bar[k])}, but \"{p['name']}\" has "
                                f"{np.shape(arguments[k])}")
        out, passed = [None] * len(arguments), []
        for k, p in enumerate(self.parameters):
            if k in bar and _is_float(p) and p["role"] == "accum":
                out[k] = np.array(bar[k], dtype=_float_of(p))
            elif k in bar and _is_float(p) and p["role"] == "out":
                out[k] = np.zeros(np.shape(arguments[k]), _float_of(p))
        for p in vjp.parameters:
            if p["name"] in of:
                passed.append(arguments[of[p["name"]]])
                continue
            k = of[p["name"][:-len("_bar")]]
            if k in bar:
                c = bar[k]
                if p["role"] == "inout":
                    c = out[k] = np.array(_array(dict(p, role="in"), c), copy=True)
                passed.append(c)
            else:
                shape = (1,) if self.parameters[k]["kind"] == "scalar" else _array(dict(self.parameters[k], role="in"), arguments[k]).shape
                out[k] = np.zeros(shape, _dtype(p))
                passed.append(out[k])
        if domain is None and vjp.about["domain_from"] is None and self.about["domain_from"] is not None:
            domain = np.shape(arguments[self.about["domain_from"]])[:self.about["rank"]]
        vjp(*passed, domain=domain)
        return [None if g is None else g.reshape(()) if p["kind"] == "scalar" else g for g, p in zip(out, self.parameters)]


def _functions():
    made = [Function(about) for about in SIGNATURE["functions"]]
    for f in made[1:]:
        made[0].derivatives[f.about["derivative"]] = f
    return made


_all = _functions()
globals().update({f.name: f for f in _all})
__all__ = ["SIGNATURE", "Error", "Function"] + [f.name for f in _all]
_first = _all[0]

try:
    import torch
except ImportError:
    torch = None
if torch is not None and "vjp" in _first.derivatives:

    class _Torch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, domain, *arguments):
            plain = [x.detach().contiguous() if isinstance(x, torch.Tensor) else x for x in arguments]
            plain = [x.item() if p["kind"] == "scalar" and isinstance(x, torch.Tensor) else x
                     for p, x in zip(_first.parameters, plain)]
            ctx.domain, ctx.plain = domain, plain
            out = tuple(torch.from_numpy(y) for y in _first.value(*plain, domain=domain))
            return out[0] if len(out) == 1 else out

        @staticmethod
        def backward(ctx, *cotangents):
            shapes = [np.shape(ctx.plain[k]) for k in _first._written()]
            types = [_float_of(_first.parameters[k]) for k in _first._written()]
            bar = [np.zeros(s, t) if c is None else c.contiguous() for c, s, t in zip(cotangents, shapes, types)]
            gradients = _first.gradient(ctx.plain, bar, domain=ctx.domain)
            return (None,) + tuple(None if g is None else torch.from_numpy(np.asarray(g)) for g in gradients)

    def torch_call(*arguments, domain=None):
        """As value(), on tensors, with gradients."""
        return _Torch.apply(domain, *arguments)

    __all__.append("torch_call")

try:
    import jax
except ImportError:
    jax = None
if jax is not None and "vjp" in _first.derivatives:

    def _jax_made(domain):
        scalar = [p["kind"] == "scalar" for p in _first.parameters]

        def plain(arguments):
            return [np.asarray(x).item() if s else np.ascontiguousarray(x) for s, x in zip(scalar, arguments)]

        def shaped(x):
            return jax.ShapeDtypeStruct(np.shape(x), x.dtype)

        @jax.custom_vjp
        def call(*arguments):
            shapes = tuple(shaped(arguments[k]) for k in _first._written())
            return jax.pure_callback(lambda *a: _first.value(*plain(a), domain=domain), shapes, *arguments)

        def forward(*arguments):
            return call(*arguments), arguments

        def backward(arguments, cotangents):
            wanted = [k for k, p in enumerate(_first.parameters) if _is_float(p)]
            shapes = tuple(jax.ShapeDtypeStruct(np.shape(arguments[k]), _float_of(_first.parameters[k])) for k in wanted)

            def gradients(a, c):
                g = _first.gradient(plain(a), [np.ascontiguousarray(x) for x in c], domain=domain)
                return tuple(np.asarray(g[k]) for k in wanted)

            found = dict(zip(wanted, jax.pure_callback(gradients, shapes, arguments, cotangents)))
            return tuple(found[k].astype(jax.numpy.result_type(x)) if k in found else
                         np.zeros(np.shape(x), jax.dtypes.float0) for k, x in enumerate(arguments))

        call.defvjp(forward, backward)
        return call

    def jax_call(*arguments, domain=None):
        """As value(), on jax arrays, under jit and grad. A tuple of results."""
        return _jax_made(domain)(*[jax.numpy.asarray(x, None if p["kind"] == "array" else _TYPES[p["type"]])
                                   for p, x in zip(_first.parameters, arguments)])

    __all__.append("jax_call")
)PY";

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) text.replace(at, what.size(), by);
}

}  // namespace

std::string python_text(const std::string& name, const std::string& json) {
  std::string text(kModule);
  replace_all(text, "@NAME@", name);
  std::string quoted = json;  // ' stands in texts alone
  replace_all(quoted, "'", "\\u0027");
  replace_all(text, "@JSON@", quoted);
  return text;
}

}  // namespace fluxion::detail
