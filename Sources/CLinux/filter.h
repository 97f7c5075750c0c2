// The system call filter of bots: a seccomp program of the classic kind, for the processor this was compiled for.
//
//   other architecture, or x32 ──► ENOSYS
//   refused by name ──► its error
//   by argument: socket, socketpair, clone, unshare, ioctl, what names another process ──► an error, or allowed
//   by path: what Landlock leaves open ──► asked of the supervisor, where there is one that answers
//   everything else ──► allowed
#ifndef CLINUX_FILTER_H
#define CLINUX_FILTER_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// One instruction; as struct sock_filter.
struct CLinux_filter_step {
    uint16_t code;
    uint8_t if_true, if_false;
    uint32_t value;
};

struct CLinux_filter_program {
    unsigned short count;
    const struct CLinux_filter_step *steps;
};

struct CLinux_filter_options {
    // Sockets of this machine's own kind (AF_UNIX) stay possible.
    int unix_sockets;
    // truncate(2) is refused, because Landlock before version 3 does not see it.
    int refuses_truncate;
    // Changes of modes, owners, times and attributes, and of what else is a process's, are asked of the supervisor.
    int asks;
};

enum { CLINUX_FILTER_ROOM = 320 };

// Where the fields of struct seccomp_data lie; of arguments the lower half, on little-endian machines.
enum {
    CLINUX_FILTER_NUMBER = 0,
    CLINUX_FILTER_MACHINE = 4,
    CLINUX_FILTER_ARGUMENT = 16,
    CLINUX_FILTER_LOAD = 0x20,
    CLINUX_FILTER_AND = 0x54,
    CLINUX_FILTER_EQUAL = 0x15,
    CLINUX_FILTER_AT_LEAST = 0x35,
    CLINUX_FILTER_ANY_BIT = 0x45,
    CLINUX_FILTER_RETURN = 0x06,
};
#define CLINUX_FILTER_ALLOW 0x7fff0000u
#define CLINUX_FILTER_ASK 0x7fc00000u
#define CLINUX_FILTER_ERROR(number) (0x00050000u | (uint32_t)(number))

#if defined(__x86_64__)
#define CLINUX_FILTER_OWN_MACHINE 0xC000003Eu
#elif defined(__aarch64__)
#define CLINUX_FILTER_OWN_MACHINE 0xC00000B7u
#endif

struct CLinux_filter_writer {
    struct CLinux_filter_step *steps;
    size_t count;
};

static inline void CLinux_filter_add(
    struct CLinux_filter_writer *writer, int code, int if_true, int if_false, uint32_t value) {
    struct CLinux_filter_step step = { (uint16_t)code, (uint8_t)if_true, (uint8_t)if_false, value };
    if (writer->count < CLINUX_FILTER_ROOM) writer->steps[writer->count] = step;
    writer->count++;
}

static inline void CLinux_filter_call(struct CLinux_filter_writer *writer, long number, uint32_t verdict) {
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 0, 1, (uint32_t)number);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, verdict);
}

// Refuses a call whose argument has any of these bits.
static inline void CLinux_filter_bits(struct CLinux_filter_writer *writer, long number, int argument, uint32_t bits, int error) {
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 0, 4, (uint32_t)number);
    CLinux_filter_add(writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_ARGUMENT + 8 * (uint32_t)argument);
    CLinux_filter_add(writer, CLINUX_FILTER_ANY_BIT, 0, 1, bits);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ERROR(error));
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ALLOW);
}

// Has another verdict than "allow" where the argument is not 0: a call on another process than the caller.
static inline void CLinux_filter_others(struct CLinux_filter_writer *writer, long number, int argument, uint32_t verdict) {
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 0, 4, (uint32_t)number);
    CLinux_filter_add(writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_ARGUMENT + 8 * (uint32_t)argument);
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 1, 0, 0);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, verdict);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ALLOW);
}

// Priorities: of all programs of the user never, of the caller itself always.
static inline void CLinux_filter_priority(struct CLinux_filter_writer *writer, long number, uint32_t user, uint32_t verdict) {
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 0, 7, (uint32_t)number);
    CLinux_filter_add(writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_ARGUMENT);
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 0, 1, user);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ERROR(EPERM));
    CLinux_filter_add(writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_ARGUMENT + 8);
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 1, 0, 0);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, verdict);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ALLOW);
}

// Allows a call with one of these values in the lower bits of an argument, and refuses it otherwise.
static inline void CLinux_filter_choice(
    struct CLinux_filter_writer *writer, long number, int argument, uint32_t mask, const uint32_t *values, int count,
    int error) {
    CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, 0, 4 + count, (uint32_t)number);
    CLinux_filter_add(writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_ARGUMENT + 8 * (uint32_t)argument);
    CLinux_filter_add(writer, CLINUX_FILTER_AND, 0, 0, mask);
    for (int index = 0; index < count; index++)
        CLinux_filter_add(writer, CLINUX_FILTER_EQUAL, count - index, 0, values[index]);
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ERROR(error));
    CLinux_filter_add(writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ALLOW);
}

// Calls that no bot has a need of, and by which it would get at other processes, the kernel or the mounts.
static inline void CLinux_filter_refuse(struct CLinux_filter_writer *writer) {
    static const long refused[] = {
        // Other processes' memory and descriptors.
        SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, 438 /* pidfd_getfd */,
        440 /* process_madvise */, 448 /* process_mrelease */, SYS_move_pages, SYS_migrate_pages,
        // Programs in the kernel, and what makes holes in it easier to use.
        SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_init_module, SYS_finit_module, SYS_delete_module,
        SYS_kexec_load,
#ifdef SYS_kexec_file_load
        SYS_kexec_file_load,
#endif
        // Keys belong to the user, not to one program.
        SYS_keyctl, SYS_add_key, SYS_request_key,
        // Mounts and namespaces.
        SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns, 428 /* open_tree */, 429 /* move_mount */,
        430 /* fsopen */, 431 /* fsconfig */, 432 /* fsmount */, 433 /* fspick */, 442 /* mount_setattr */,
        467 /* open_tree_attr */,
        // Files by number, past every path.
        SYS_open_by_handle_at, SYS_fanotify_init,
        // Memory and queues that all programs of a user share.
        SYS_shmget, SYS_shmat, SYS_msgget, SYS_semget, SYS_mq_open, SYS_mq_unlink,
        // The machine itself.
        SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, 443 /* quotactl_fd */, SYS_syslog, SYS_vhangup,
        SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex,
#ifdef SYS_iopl
        SYS_iopl, SYS_ioperm,
#endif
    };
    static const long unknown[] = {
        // As if the kernel were older: what falls back then uses calls that can be looked into.
        435 /* clone3 */, 463 /* setxattrat */, 466 /* removexattrat */, 469 /* file_setattr */, 425 /* io_uring_setup */, 426 /* io_uring_enter */, 427 /* io_uring_register */,
    };
    for (size_t index = 0; index < sizeof refused / sizeof *refused; index++)
        CLinux_filter_call(writer, refused[index], CLINUX_FILTER_ERROR(EPERM));
    for (size_t index = 0; index < sizeof unknown / sizeof *unknown; index++)
        CLinux_filter_call(writer, unknown[index], CLINUX_FILTER_ERROR(ENOSYS));
}

static inline void CLinux_filter_ask(struct CLinux_filter_writer *writer) {
    static const long asked[] = {
#ifdef SYS_chmod
        SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat,
#endif
        SYS_fchmod, SYS_fchmodat, 452 /* fchmodat2 */, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr,
        SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    };
    for (size_t index = 0; index < sizeof asked / sizeof *asked; index++)
        CLinux_filter_call(writer, asked[index], CLINUX_FILTER_ASK);
}

// Writes the program; gives the number of its steps, 0 where there is none for this kind of processor.
static inline size_t CLinux_filter_write(struct CLinux_filter_step *steps, struct CLinux_filter_options options) {
#ifdef CLINUX_FILTER_OWN_MACHINE
    struct CLinux_filter_writer writer = { steps, 0 };
    // New namespaces: mounts, control groups, host names, queues, users, processes, networks; clone and unshare.
    const uint32_t namespaces = 0x00020000u | 0x02000000u | 0x04000000u | 0x08000000u | 0x10000000u | 0x20000000u | 0x40000000u;
    // AF_UNSPEC, AF_INET, AF_INET6, AF_NETLINK, AF_UNIX. Others reach past this machine's borders (AF_VSOCK) or into its kernel.
    const uint32_t families[] = { 0, 2, 10, 16, 1 };
    // Connected for good. A pair of datagram sockets could be connected anew, to anybody.
    const uint32_t pairs[] = { 1, 5 };
    const uint32_t anything[] = { 1, 5, 2, 3 };
    CLinux_filter_add(&writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_MACHINE);
    CLinux_filter_add(&writer, CLINUX_FILTER_EQUAL, 1, 0, CLINUX_FILTER_OWN_MACHINE);
    CLinux_filter_add(&writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ERROR(ENOSYS));
    CLinux_filter_add(&writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_NUMBER);
#if defined(__x86_64__)
    CLinux_filter_add(&writer, CLINUX_FILTER_AT_LEAST, 0, 1, 0x40000000u);
    CLinux_filter_add(&writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ERROR(ENOSYS));
#endif
    CLinux_filter_refuse(&writer);
    if (options.refuses_truncate) CLinux_filter_call(&writer, SYS_truncate, CLINUX_FILTER_ERROR(EPERM));
    if (options.asks) CLinux_filter_ask(&writer);
    // Each of these ends the program where the number fits, so the number is still loaded for the next.
    CLinux_filter_choice(&writer, SYS_socket, 0, ~0u, families, options.unix_sockets ? 5 : 4, EACCES);
    CLinux_filter_choice(&writer, SYS_socketpair, 1, 0xf, options.unix_sockets ? anything : pairs, options.unix_sockets ? 4 : 2, EACCES);
    CLinux_filter_bits(&writer, SYS_clone, 0, namespaces, EPERM);
    // 0x80: clocks.
    CLinux_filter_bits(&writer, SYS_unshare, 0, namespaces | 0x80u, EPERM);
    {
        // Typing into a terminal as if the person before it did, and selecting text of a console.
        const uint32_t typing[] = { 0x5412 /* TIOCSTI */, 0x541C /* TIOCLINUX */ };
        CLinux_filter_add(&writer, CLINUX_FILTER_EQUAL, 0, 5, SYS_ioctl);
        CLinux_filter_add(&writer, CLINUX_FILTER_LOAD, 0, 0, CLINUX_FILTER_ARGUMENT + 8);
        CLinux_filter_add(&writer, CLINUX_FILTER_EQUAL, 2, 0, typing[0]);
        CLinux_filter_add(&writer, CLINUX_FILTER_EQUAL, 1, 0, typing[1]);
        CLinux_filter_add(&writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ALLOW);
        CLinux_filter_add(&writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ERROR(EPERM));
    }
    {
        // Limits and priorities of other processes: the kernel asks for the same user, and nothing else.
        const uint32_t verdict = options.asks ? CLINUX_FILTER_ASK : CLINUX_FILTER_ERROR(EPERM);
        const long calls[] = { SYS_prlimit64, SYS_sched_setaffinity, SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setattr };
        for (size_t index = 0; index < sizeof calls / sizeof *calls; index++) CLinux_filter_others(&writer, calls[index], 0, verdict);
        CLinux_filter_priority(&writer, SYS_setpriority, 2, verdict);
        CLinux_filter_priority(&writer, SYS_ioprio_set, 3, verdict);
    }
    CLinux_filter_add(&writer, CLINUX_FILTER_RETURN, 0, 0, CLINUX_FILTER_ALLOW);
    return writer.count <= CLINUX_FILTER_ROOM ? writer.count : 0;
#else
    (void)steps;
    (void)options;
    return 0;
#endif
}

// Whether this process may filter its system calls: not before Linux 3.5, nor where it is forbidden.
static inline int CLinux_can_filter(void) {
    // SECCOMP_GET_ACTION_AVAIL of "return an error"; needs no privilege and changes nothing.
    uint32_t action = 0x00050000u;
    return syscall(SYS_seccomp, 2, 0, &action) == 0;
}

// Installs the program for this process and all it becomes and starts. With a listener, gives its descriptor; 0 otherwise.
static inline int CLinux_filter_install(const struct CLinux_filter_step *steps, size_t count, int has_listener) {
    struct CLinux_filter_program program = { (unsigned short)count, steps };
    return (int)syscall(SYS_seccomp, 1, has_listener ? 8u : 0u, &program);
}

#endif
