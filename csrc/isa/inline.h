#pragma once

// Kernels inline all the way down. Under a sanitizer they need not, and would take minutes to
// compile.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EDGELM_ALWAYS_INLINE
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EDGELM_ALWAYS_INLINE
#endif
#endif
#ifndef EDGELM_ALWAYS_INLINE
#define EDGELM_ALWAYS_INLINE __attribute__((always_inline))
#endif
#define EDGELM_INLINE inline EDGELM_ALWAYS_INLINE
