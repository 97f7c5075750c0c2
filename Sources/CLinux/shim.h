// The few system calls Swift cannot name: variadic ones, macros, and those without a C library wrapper.
// All return -1 and set errno on failure unless said otherwise.
#ifndef CLINUX_SHIM_H
#define CLINUX_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
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

#endif
