// Starts a bot's process: what posix_spawn cannot do (control groups, limits, another user), between fork and exec.
#ifndef CLINUX_LAUNCH_H
#define CLINUX_LAUNCH_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "isolation.h"

// Where a launch failed, in the order in which the steps are taken.
enum CLinux_launch_step {
    CLINUX_LAUNCH_FORK = 0,
    CLINUX_LAUNCH_GROUP,
    CLINUX_LAUNCH_LIMIT,
    CLINUX_LAUNCH_USER,
    CLINUX_LAUNCH_DIRECTORY,
    CLINUX_LAUNCH_FILES,
    CLINUX_LAUNCH_FILTER,
    CLINUX_LAUNCH_EXEC,
};

struct CLinux_launch {
    const char *executable;
    char *const *arguments;
    char *const *environment;
    const char *directory;
    // Becomes standard input; -1 for /dev/null.
    int input;
    // Become standard output and error.
    int output;
    int error;
    // Open `cgroup.procs` files of the groups to join.
    const int *group_files;
    size_t group_file_count;
    // Resource limits; 0 leaves the one there is.
    uint64_t open_files;
    uint64_t data_bytes;
    uint64_t user_processes;
    // Whether to become another user, for good.
    int switches_user;
    uid_t user;
    gid_t group;
    const gid_t *groups;
    size_t group_count;
    // Whether to give up new privileges and all capabilities, for good.
    int drops_privileges;
    // A ruleset of Landlock; -1 for none.
    int ruleset;
    // A filter of system calls; none where it has no steps.
    const struct CLinux_filter_step *filter;
    size_t filter_count;
    // Whether the filter asks, and somebody answers.
    int asks;
    // Set by CLinux_launch: one end of a pair of sockets, by which the descriptor to answer by is sent.
    int listener_socket;
};

// -1 with errno where the limit cannot be set.
static inline int CLinux_limit(int resource, uint64_t value) {
    struct rlimit limit;
    if (value == 0) return 0;
    limit.rlim_cur = limit.rlim_max = (rlim_t)value;
    return setrlimit(resource, &limit);
}

// What looks after bots may be protected from being killed when memory runs out; bots are not.
static inline void CLinux_drop_memory_protection(void) {
    char value[8] = { 0 };
    int file;
    // A process that may not be looked into does not own its files there.
    CLinux_set_dumpable(1);
    file = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (file >= 0 && read(file, value, sizeof value - 1) > 0 && value[0] == '-') (void)!pwrite(file, "0", 1, 0);
    if (file >= 0) close(file);
    CLinux_set_dumpable(0);
}

// As struct msghdr, which Swift's Glibc module owns.
struct CLinux_message {
    void *name;
    uint32_t name_length;
    void *parts;
    size_t part_count;
    void *control;
    size_t control_length;
    int flags;
};

// Sends a descriptor over a socket.
static inline int CLinux_send_descriptor(int socket, int descriptor) {
    struct { size_t length; int level, type; int descriptor; } control = { 20, 1 /* SOL_SOCKET */, 1 /* SCM_RIGHTS */, descriptor };
    char byte = 1;
    struct { void *base; size_t length; } part = { &byte, 1 };
    struct CLinux_message message = { (void *)0, 0, &part, 1, &control, sizeof control, 0 };
    return syscall(SYS_sendmsg, socket, &message, 0) == 1 ? 0 : -1;
}

// Takes a descriptor that was sent over a socket; -1 where none is there.
static inline int CLinux_take_descriptor(int socket) {
    struct { size_t length; int level, type; int descriptor; } control = { 0, 0, 0, -1 };
    char byte;
    struct { void *base; size_t length; } part = { &byte, 1 };
    struct CLinux_message message = { (void *)0, 0, &part, 1, &control, sizeof control, 0 };
    // MSG_CMSG_CLOEXEC | MSG_DONTWAIT
    if (syscall(SYS_recvmsg, socket, &message, 0x40000000 | 0x40) != 1 || control.type != 1) return -1;
    return control.descriptor;
}

// In the child: keeps it to itself from here on. Returns the step that failed, with errno; 0 where all went well.
static inline int CLinux_launch_isolate(const struct CLinux_launch *launch) {
    int listener;
    if (launch->drops_privileges) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return CLINUX_LAUNCH_USER;
        CLinux_drop_capabilities();
    }
    if (launch->ruleset >= 0 && CLinux_landlock_enter(launch->ruleset) != 0) return CLINUX_LAUNCH_FILES;
    if (launch->filter_count == 0) return 0;
    listener = CLinux_filter_install(launch->filter, launch->filter_count, launch->asks);
    if (listener < 0) return CLINUX_LAUNCH_FILTER;
    if (launch->asks && CLinux_send_descriptor(launch->listener_socket, listener) != 0)
        return CLINUX_LAUNCH_FILTER;
    return 0;
}

// In the child. Returns the step that failed, with errno.
static inline int CLinux_launch_become(const struct CLinux_launch *launch, pid_t parent) {
    sigset_t none;
    int input, failed;
    setsid();
    // Before anything else, so that whatever the program starts is in the groups from the first moment.
    for (size_t index = 0; index < launch->group_file_count; index++) {
        if (write(launch->group_files[index], "0", 1) != 1) return CLINUX_LAUNCH_GROUP;
    }
    CLinux_drop_memory_protection();
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    input = launch->input >= 0 ? launch->input : open("/dev/null", O_RDONLY);
    if (input < 0 || dup2(input, 0) < 0 || dup2(launch->output, 1) < 0 || dup2(launch->error, 2) < 0)
        return CLINUX_LAUNCH_FORK;
    if (input > 2) close(input);
    if (CLinux_limit(RLIMIT_NOFILE, launch->open_files) != 0 || CLinux_limit(RLIMIT_DATA, launch->data_bytes) != 0 ||
        CLinux_limit(RLIMIT_NPROC, launch->user_processes) != 0)
        return CLINUX_LAUNCH_LIMIT;
    if (launch->switches_user) {
        if (setgroups(launch->group_count, launch->groups) != 0 || setresgid(launch->group, launch->group, launch->group) != 0 ||
            setresuid(launch->user, launch->user, launch->user) != 0)
            return CLINUX_LAUNCH_USER;
        // No way back by a set-user-id program.
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return CLINUX_LAUNCH_USER;
    }
    // Nobody reads the output of a bot whose supervisor is gone. After the change of user, which would clear it.
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) _exit(127);
    if (chdir(launch->directory) != 0) return CLINUX_LAUNCH_DIRECTORY;
    failed = CLinux_launch_isolate(launch);
    if (failed != 0) return failed;
    execve(launch->executable, launch->arguments, launch->environment);
    return CLINUX_LAUNCH_EXEC;
}

// Starts the program as leader of a session of its own. Only for processes with a single thread.
// Returns its pid, or -1 with errno and the step at which it failed. Where the filter asks, `listener` is what to answer by.
static inline pid_t CLinux_launch(struct CLinux_launch *launch, int *failed_step, int *listener) {
    int report[2], sockets[2] = { -1, -1 }, outcome[2] = { CLINUX_LAUNCH_FORK, 0 };
    pid_t parent = getpid(), child;
    ssize_t count;
    *failed_step = CLINUX_LAUNCH_FORK;
    *listener = -1;
    if (syscall(SYS_pipe2, report, O_CLOEXEC) != 0) return -1;
    // AF_UNIX, SOCK_STREAM
    if (launch->asks && syscall(SYS_socketpair, 1, 1 | O_CLOEXEC, 0, sockets) != 0) {
        close(report[0]);
        close(report[1]);
        return -1;
    }
    launch->listener_socket = sockets[1];
    child = fork();
    if (child == 0) {
        outcome[0] = CLinux_launch_become(launch, parent);
        outcome[1] = errno;
        while (write(report[1], outcome, sizeof outcome) < 0 && errno == EINTR) {}
        _exit(127);
    }
    close(report[1]);
    if (child > 0) {
        // Ends with the exec, which closes the other end, or with what went wrong.
        do { count = read(report[0], outcome, sizeof outcome); } while (count < 0 && errno == EINTR);
        if (count == (ssize_t)sizeof outcome) {
            while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
            child = -1;
            *failed_step = outcome[0];
            errno = outcome[1];
        }
    }
    if (child > 0 && launch->asks) *listener = CLinux_take_descriptor(sockets[0]);
    if (launch->asks) {
        close(sockets[0]);
        close(sockets[1]);
    }
    close(report[0]);
    return child;
}

#endif
