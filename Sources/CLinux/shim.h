// The few system calls and vector instructions Swift cannot name: variadic ones, macros, and those without a C library wrapper.
// All return -1 and set errno on failure unless said otherwise.
#ifndef CLINUX_SHIM_H
#define CLINUX_SHIM_H

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "filter.h"
#include "isolation.h"
#include "launch.h"
#include "listener.h"
#include "memory.h"
#include "utf8_vector.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif

// Orphaned descendants become children of this process, so their exit status can be collected here.
static inline int CLinux_set_child_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

// The calling process receives this signal when its parent thread ends.
static inline int CLinux_set_parent_death_signal(int signal_number) {
    return prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0);
}

// A descriptor (close-on-exec) that becomes readable when the process ends, and names it without id reuse.
static inline int CLinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

static inline int CLinux_pidfd_send_signal(int pidfd, int signal_number) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal_number, (siginfo_t *)0, 0);
}

static inline int CLinux_gettid(void) { return (int)syscall(SYS_gettid); }

// Names the calling thread, at most 15 characters, as ps and debuggers show it.
static inline int CLinux_set_thread_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

// Starts a detached thread on which all signals are blocked. It inherits the mask, so there is no moment in which it
// could take a signal. Returns 0 or an error number.
static inline int CLinux_start_thread(void *(*body)(void *), void *context) {
    sigset_t all, previous;
    pthread_attr_t attributes;
    pthread_t thread;
    int failure = pthread_attr_init(&attributes);
    if (failure != 0) {
        return failure;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    failure = pthread_create(&thread, &attributes, body, context);
    pthread_sigmask(SIG_SETMASK, &previous, (sigset_t *)0);
    pthread_attr_destroy(&attributes);
    return failure;
}

// epoll_event is a packed union; these keep the 64-bit tag and the event mask apart for Swift.
static inline int CLinux_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t tag) {
    struct epoll_event event;
    event.events = events;
    event.data.u64 = tag;
    return epoll_ctl(epoll, operation, fd, &event);
}

static inline uint64_t CLinux_epoll_tag(const struct epoll_event *event) { return event->data.u64; }
static inline uint32_t CLinux_epoll_events(const struct epoll_event *event) { return event->events; }

static inline int CLinux_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }
static inline int CLinux_eventfd_create(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

// CLOCK_BOOTTIME: time spent suspended counts, so a deadline that passed during a suspend is noticed on resume.
static inline int CLinux_timerfd_create(void) { return timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK); }

static inline int CLinux_timerfd_arm(int fd, int64_t seconds, int64_t nanoseconds) {
    struct itimerspec when = { { 0, 0 }, { seconds, nanoseconds } };
    return timerfd_settime(fd, 0, &when, (struct itimerspec *)0);
}

// Makes the signals (a zero ends the list) arrive by a descriptor instead of a handler. Blocks them in this thread.
static inline int CLinux_signalfd_create(const int *signals) {
    sigset_t set;
    sigemptyset(&set);
    for (; *signals; signals++) sigaddset(&set, *signals);
    if (sigprocmask(SIG_BLOCK, &set, (sigset_t *)0) != 0) return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// The next signal that arrived, or -1 where there is none.
static inline int CLinux_signalfd_read(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : -1;
}

// Closes every descriptor from `first` on.
static inline int CLinux_close_from(unsigned int first) { return (int)syscall(SYS_close_range, first, ~0U, 0U); }

// How a process ended, from the status that waitpid gave.
static inline int CLinux_exit_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }
static inline int CLinux_exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 0; }

// GNU flags that Swift's Glibc module does not show: a descriptor that only names a file, and its use without a path.
static const int CLinux_o_path = 010000000;
static const int CLinux_at_empty_path = 0x1000;

// The GNU addition to posix_spawn that Debian 12 has and Swift's Glibc module does not show:
// The spawned process leads a session and a process group of its own, so that no signal meant for this one's terminal or group
// reaches it, and none of this one's signals is blocked or ignored in it.
static inline int CLinux_spawn_new_session(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | 0x80 /* SETSID */);
}

// Asks for another size of a pipe's buffer; -1 where the system allows none so large.
static inline int CLinux_set_pipe_size(int fd, int bytes) { return fcntl(fd, 1031 /* F_SETPIPE_SZ */, bytes); }
// Opens a path that must not lead out of `directory`, whatever is renamed or linked meanwhile: openat2 with
// RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, and without following any symbolic link where `no_links`. ENOSYS before Linux 5.6.
static inline int CLinux_open_beneath(int directory, const char *path, int flags, unsigned int mode, int no_links) {
    struct { uint64_t flags, mode, resolve; } how = { (uint64_t)(flags | O_CLOEXEC), mode, 0x08 | 0x02 };
    if (no_links) how.resolve |= 0x04;
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

// Makes two names change places at once (RENAME_EXCHANGE).
static inline int CLinux_exchange(int from_directory, const char *from, int to_directory, const char *to) {
    return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 2U);
}

// Renames only where the new name is free (RENAME_NOREPLACE).
static inline int CLinux_rename_to_free(int from_directory, const char *from, int to_directory, const char *to) {
    return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 1U);
}

// Everything written to the descriptor's file system is on disk when it returns.
static inline int CLinux_sync_file_system(int fd) { return (int)syscall(SYS_syncfs, fd); }

// Makes the whole file share the other's blocks (FICLONE); not every file system can.
static inline int CLinux_clone_file(int to, int from) { return ioctl(to, _IOW(0x94, 9, int), from); }

// Copies inside the kernel; both offsets are given. Returns the bytes copied.
static inline ssize_t CLinux_copy_range(int from, int64_t from_offset, int to, int64_t to_offset, size_t count) {
    return syscall(SYS_copy_file_range, from, &from_offset, to, &to_offset, count, 0U);
}

// Where the next data begins at or after `offset`; -1 with ENXIO where only a hole follows.
static inline int64_t CLinux_next_data(int fd, int64_t offset) { return lseek(fd, offset, 3 /* SEEK_DATA */); }
static inline int64_t CLinux_next_hole(int fd, int64_t offset) { return lseek(fd, offset, 4 /* SEEK_HOLE */); }

// A pipe whose ends are not passed on to other programs.
static inline int CLinux_pipe(int ends[2]) { return (int)syscall(SYS_pipe2, ends, O_CLOEXEC); }

#endif
