// Status codes and the error record: the part of the public interface that every room of the project speaks.
//
// Installed beside tern.h, which includes it. Each code has one meaning and a stable number. The four answers about a
// model file are kept apart on purpose: MALFORMED (the file is broken), UNSUPPORTED (the file is fine, we cannot),
// LIMIT (the file is fine but over a configured cap) and BUDGET (it does not fit the memory there is).
#ifndef TERN_STATUS_H
#define TERN_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define TERN_API
#else
#define TERN_API __attribute__((visibility("default")))
#endif

// X(NAME, number, sentence)
#define TERN_STATUS_LIST(X)                                                                                            \
    X(OK, 0, "success")                                                                                                \
    X(INVALID_ARGUMENT, 1, "an argument is out of its documented range")                                               \
    X(BAD_STATE, 2, "the call does not fit the state of the object")                                                   \
    X(NOT_FOUND, 3, "the named thing does not exist")                                                                  \
    X(CANCELLED, 4, "the caller asked to stop")                                                                        \
    X(HOST_MEMORY, 10, "the host is out of memory")                                                                    \
    X(DEVICE_MEMORY, 11, "the device is out of memory")                                                                \
    X(CONTEXT_FULL, 12, "the sequence reached the end of its context")                                                 \
    X(LIMIT, 13, "the input is over a configured cap")                                                                 \
    X(BUDGET, 14, "the plan does not fit the memory it was given")                                                     \
    X(IO, 20, "reading or writing failed")                                                                             \
    X(MALFORMED, 21, "the file or text is broken")                                                                     \
    X(UNSUPPORTED, 22, "the file is fine, but this build cannot use it")                                               \
    X(NO_DEVICE, 30, "no such device on this machine")                                                                 \
    X(DEVICE_UNSUPPORTED, 31, "the device lacks something the operation needs")                                        \
    X(DEVICE_LOST, 32, "the device failed and must be reopened")                                                       \
    X(KERNEL_BUILD, 33, "a device program did not compile")                                                            \
    X(KERNEL_LAUNCH, 34, "a kernel could not be launched")                                                             \
    X(NUMERIC, 40, "a value that must be finite is not")                                                               \
    X(INTERNAL, 50, "a broken invariant: always a bug in Tern")

typedef enum tern_status {
#define X(name, number, sentence) TERN_##name = number,
    TERN_STATUS_LIST(X)
#undef X
} tern_status;

// Filled by the first failure of a call; callers higher up prefix context. Plain data, owned by the caller, usually on
// its stack. Initialise with `tern_error err = {0};`. Every function that takes one accepts NULL.
typedef struct tern_error {
    tern_status status;
    char message[1000]; // UTF-8, NUL-terminated, no newline; cut if longer
} tern_error;

// The code's name ("MALFORMED") and its one-sentence meaning. Never NULL; unknown numbers give "UNKNOWN".
TERN_API const char *tern_status_name(tern_status status);
TERN_API const char *tern_status_meaning(tern_status status);

#ifdef __cplusplus
}
#endif
#endif
