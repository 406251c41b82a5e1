// Worker threads that spin for a moment, then sleep. One job at a time.
#pragma once
#include "abi.h"

namespace fluxion::cpu {

/// Calls body(data, chunk, context) for every chunk in 0..chunks-1 on the workers and the calling thread, each
/// chunk once, and returns when all have returned. Runs everything on the calling thread while another thread
/// has the pool.
void parallel(int chunks, void (*body)(void* data, int chunk, ThreadContext* context), void* data, ThreadContext* mine);

/// Sets FTZ and DAZ (denormals count as zero); returns the control word to give back to restore_control().
unsigned flush_denormals();
void restore_control(unsigned word);

/// A context with an arena of reserved, mostly uncommitted memory.
ThreadContext* make_context();
void free_context(ThreadContext* context);

}  // namespace fluxion::cpu
