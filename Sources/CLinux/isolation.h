// Landlock, and what else keeps a process to itself. All give -1 with errno on failure unless said otherwise.
#ifndef CLINUX_ISOLATION_H
#define CLINUX_ISOLATION_H

#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// The version of the kernel's Landlock, from 1.
static inline int CLinux_landlock_version(void) {
    return (int)syscall(444 /* landlock_create_ruleset */, (void *)0, (size_t)0, 1u);
}

// A ruleset (close-on-exec) that refuses these rights wherever no rule grants them, and keeps these scopes.
static inline int CLinux_landlock_create(uint64_t files, uint64_t scopes) {
    struct { uint64_t files, network, scopes; } refused = { files, 0, scopes };
    // Older kernels take a shorter structure.
    return (int)syscall(444, &refused, scopes != 0 ? sizeof refused : sizeof refused.files, 0u);
}

// Grants rights on a file, or on a directory and all below it.
static inline int CLinux_landlock_grant(int ruleset, int file, uint64_t rights) {
    struct { uint64_t rights; int32_t file; } __attribute__((packed)) rule = { rights, file };
    return (int)syscall(445 /* landlock_add_rule */, ruleset, 1, &rule, 0u);
}

// Puts this process, and all it becomes and starts, under the ruleset. It must have given up new privileges.
static inline int CLinux_landlock_enter(int ruleset) {
    return (int)syscall(446 /* landlock_restrict_self */, ruleset, 0u);
}

// Whether other processes of the same user may look into this one, and the kernel may dump it.
static inline int CLinux_set_dumpable(int is_dumpable) { return prctl(PR_SET_DUMPABLE, is_dumpable, 0, 0, 0); }
static inline int CLinux_is_dumpable(void) { return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0); }

// Gives up every capability, also for programs that are executed later. What is not allowed is not held either.
static inline void CLinux_drop_capabilities(void) {
    struct { uint32_t version; int pid; } head = { 0x20080522, 0 };
    struct { uint32_t effective, permitted, inheritable; } none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
    for (int capability = 0; capability < 64; capability++) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    (void)syscall(SYS_capset, &head, none);
}

#endif
