#pragma once
#include "common/deferredDeleter.h"

#include <napi.h>

namespace scenebus::addon {

/**
 * Decoders, models, caches and images end on its thread: unmapping a long context or joining a model's thread would hold
 * up JavaScript. Never destroyed, since the thread may still work when a process exits.
 */
inline DeferredDeleter& deferredDeleter() {
  static auto* const deleter = new DeferredDeleter;
  return *deleter;
}

/** Handles that end later, with the environment itself, end where they are let go of. */
inline void deferDeletions(Napi::Env env) {
  deferredDeleter().enter();
  env.AddCleanupHook([] { deferredDeleter().leave(); });
}

} // namespace scenebus::addon
