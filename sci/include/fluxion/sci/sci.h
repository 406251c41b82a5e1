// Scientific computing written in the language: ODEs, linear solvers, particles, grids. Nothing is here yet; the
// folder marks its place above jit and beside nn, which it must not include.
#pragma once
