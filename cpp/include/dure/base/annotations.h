// dure/base/annotations.h - says which mutex guards which field; checked by clang's
// -Wthread-safety in scripts/nightly, empty for other compilers.
#ifndef DURE_BASE_ANNOTATIONS_H_
#define DURE_BASE_ANNOTATIONS_H_

#if defined(__clang__)
#define DURE_GUARDED_BY(mutex) __attribute__((guarded_by(mutex)))
#define DURE_REQUIRES(mutex) __attribute__((exclusive_locks_required(mutex)))
#else
#define DURE_GUARDED_BY(mutex)
#define DURE_REQUIRES(mutex)
#endif

#endif  // DURE_BASE_ANNOTATIONS_H_
