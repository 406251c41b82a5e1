// Neural networks written in the language: modules, layers, losses, optimisers. Nothing is here yet; the
// folder marks its place above jit and beside sci, which it must not include.
#pragma once
