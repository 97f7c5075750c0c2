// Answering for system calls that a filter asks about (seccomp_unotify(2)).
#ifndef CLINUX_LISTENER_H
#define CLINUX_LISTENER_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

// As struct seccomp_notif.
struct CLinux_question {
    uint64_t number;
    uint32_t thread;
    uint32_t flags;
    int32_t call;
    uint32_t machine;
    uint64_t instruction;
    uint64_t arguments[6];
};

// As struct seccomp_notif_resp.
struct CLinux_reply {
    uint64_t number;
    int64_t value;
    int32_t error;
    uint32_t flags;
};

// Takes the next question; -1 with errno where there is none any more.
static inline int CLinux_question_take(int listener, struct CLinux_question *question) {
    memset(question, 0, sizeof *question);
    return ioctl(listener, _IOWR('!', 0, struct CLinux_question), question);
}

// Whether who asked still waits: only then its number means the same thread.
static inline int CLinux_question_stands(int listener, uint64_t number) {
    return ioctl(listener, _IOW('!', 2, uint64_t), &number) == 0;
}

// Answers: with an error (a positive number), with success (0), or, with -1, by letting the call go on as it is.
static inline int CLinux_question_answer(int listener, uint64_t number, int error) {
    struct CLinux_reply reply = { number, 0, error > 0 ? -error : 0, error < 0 ? 1u : 0u };
    return ioctl(listener, _IOWR('!', 1, struct CLinux_reply), &reply);
}

// The calls a filter asks about, by what their arguments mean.
enum CLinux_asked {
    CLINUX_ASKED_NOTHING = 0,
    CLINUX_ASKED_MODE,
    CLINUX_ASKED_OWNER,
    CLINUX_ASKED_TIMES,
    CLINUX_ASKED_ATTRIBUTE,
    CLINUX_ASKED_NO_ATTRIBUTE,
    CLINUX_ASKED_PROCESS,
    CLINUX_ASKED_PRIORITY,
};

// Where the arguments of a call stand; -1 for those it does not have.
struct CLinux_asked_call {
    enum CLinux_asked what;
    // A descriptor of the file itself, or where the path starts.
    int descriptor, path;
    // What it is to become, from here on.
    int value;
    // AT_… flags.
    int flags;
    // Whether a link at the end of the path is meant itself.
    int means_links;
    // How times are written: 0 nanoseconds, 1 microseconds, 2 seconds.
    int times;
};

static inline struct CLinux_asked_call CLinux_asked_call(int call) {
    switch (call) {
    // What it is, descriptor, path, value, flags, links, times
#ifdef SYS_chmod
    case SYS_chmod: return (struct CLinux_asked_call){ CLINUX_ASKED_MODE, -1, 0, 1, -1, 0, 0 };
    case SYS_chown: return (struct CLinux_asked_call){ CLINUX_ASKED_OWNER, -1, 0, 1, -1, 0, 0 };
    case SYS_lchown: return (struct CLinux_asked_call){ CLINUX_ASKED_OWNER, -1, 0, 1, -1, 1, 0 };
    case SYS_utime: return (struct CLinux_asked_call){ CLINUX_ASKED_TIMES, -1, 0, 1, -1, 0, 2 };
    case SYS_utimes: return (struct CLinux_asked_call){ CLINUX_ASKED_TIMES, -1, 0, 1, -1, 0, 1 };
    case SYS_futimesat: return (struct CLinux_asked_call){ CLINUX_ASKED_TIMES, 0, 1, 2, -1, 0, 1 };
#endif
    case SYS_fchmod: return (struct CLinux_asked_call){ CLINUX_ASKED_MODE, 0, -1, 1, -1, 0, 0 };
    case SYS_fchmodat: return (struct CLinux_asked_call){ CLINUX_ASKED_MODE, 0, 1, 2, -1, 0, 0 };
    case 452 /* fchmodat2 */: return (struct CLinux_asked_call){ CLINUX_ASKED_MODE, 0, 1, 2, 3, 0, 0 };
    case SYS_fchown: return (struct CLinux_asked_call){ CLINUX_ASKED_OWNER, 0, -1, 1, -1, 0, 0 };
    case SYS_fchownat: return (struct CLinux_asked_call){ CLINUX_ASKED_OWNER, 0, 1, 2, 4, 0, 0 };
    case SYS_utimensat: return (struct CLinux_asked_call){ CLINUX_ASKED_TIMES, 0, 1, 2, 3, 0, 0 };
    case SYS_setxattr: return (struct CLinux_asked_call){ CLINUX_ASKED_ATTRIBUTE, -1, 0, 1, -1, 0, 0 };
    case SYS_lsetxattr: return (struct CLinux_asked_call){ CLINUX_ASKED_ATTRIBUTE, -1, 0, 1, -1, 1, 0 };
    case SYS_fsetxattr: return (struct CLinux_asked_call){ CLINUX_ASKED_ATTRIBUTE, 0, -1, 1, -1, 0, 0 };
    case SYS_removexattr: return (struct CLinux_asked_call){ CLINUX_ASKED_NO_ATTRIBUTE, -1, 0, 1, -1, 0, 0 };
    case SYS_lremovexattr: return (struct CLinux_asked_call){ CLINUX_ASKED_NO_ATTRIBUTE, -1, 0, 1, -1, 1, 0 };
    case SYS_fremovexattr: return (struct CLinux_asked_call){ CLINUX_ASKED_NO_ATTRIBUTE, 0, -1, 1, -1, 0, 0 };
    case SYS_prlimit64:
    case SYS_sched_setaffinity:
    case SYS_sched_setscheduler:
    case SYS_sched_setparam:
    case SYS_sched_setattr: return (struct CLinux_asked_call){ CLINUX_ASKED_PROCESS, -1, -1, 0, -1, 0, 0 };
    case SYS_setpriority: return (struct CLinux_asked_call){ CLINUX_ASKED_PRIORITY, -1, -1, 1, 0, 0, 0 };
    case SYS_ioprio_set: return (struct CLinux_asked_call){ CLINUX_ASKED_PRIORITY, -1, -1, 1, 1, 0, 0 };
    default: return (struct CLinux_asked_call){ CLINUX_ASKED_NOTHING, -1, -1, -1, -1, 0, 0 };
    }
}

// Opens a path from a directory only to name what is there, where it can be through no link of /proc that leads elsewhere. A
// kernel before 5.6 cannot, nor can a process under systemd's RestrictSUIDSGID: who calls has to look at what was opened.
static inline int CLinux_open_named(int directory, const char *path, int follows_links) {
    // O_PATH | O_CLOEXEC, O_NOFOLLOW; RESOLVE_NO_MAGICLINKS.
    struct { uint64_t flags, mode, resolve; } how = { 010000000 | O_CLOEXEC | (follows_links ? 0 : O_NOFOLLOW), 0, 0x02 };
    int file = (int)syscall(437 /* openat2 */, directory, path, &how, sizeof how);
    return file >= 0 || (errno != ENOSYS && errno != EPERM) ? file : (int)syscall(SYS_openat, directory, path, (int)how.flags);
}

// Sets or removes an attribute of the file at the path.
static inline int CLinux_set_attribute(const char *path, const char *name, const void *value, size_t count, int flags) {
    return (int)syscall(SYS_setxattr, path, name, value, count, flags);
}
static inline int CLinux_remove_attribute(const char *path, const char *name) {
    return (int)syscall(SYS_removexattr, path, name);
}

#endif
