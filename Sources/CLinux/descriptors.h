// Messages that carry open files over a Unix socket (SCM_RIGHTS, unix(7)); the macros for it do not reach Swift.
#ifndef CLINUX_DESCRIPTORS_H
#define CLINUX_DESCRIPTORS_H

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

// No message carries more files.
#define CLINUX_MOST_FILES 4

// Sends one message. Returns the bytes sent, or -1 with errno.
static inline ssize_t CLinux_send_files(int socket, const void *bytes, size_t count, const int *files, size_t file_count) {
    struct iovec part = { (void *)bytes, count };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    union { struct cmsghdr header; char room[CMSG_SPACE(CLINUX_MOST_FILES * sizeof(int))]; } control;
    if (file_count > CLINUX_MOST_FILES) return -1;
    if (file_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(file_count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(file_count * sizeof(int));
        memcpy(CMSG_DATA(header), files, file_count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

// Receives one message with at most CLINUX_MOST_FILES files, which are close-on-exec and the caller's to close; further ones
// are closed by the kernel. Returns its bytes, 0 at the end, or -1 with errno.
static inline ssize_t CLinux_receive_files(int socket, void *bytes, size_t room, int *files, size_t *file_count) {
    struct iovec part = { bytes, room };
    union { struct cmsghdr header; char room[CMSG_SPACE(CLINUX_MOST_FILES * sizeof(int))]; } control;
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t count = recvmsg(socket, &message, 0x40000000 /* MSG_CMSG_CLOEXEC */);
    *file_count = 0;
    if (count < 0) return count;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t found = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (*file_count + found > CLINUX_MOST_FILES) found = CLINUX_MOST_FILES - *file_count;
        memcpy(files + *file_count, CMSG_DATA(header), found * sizeof(int));
        *file_count += found;
    }
    return count;
}

#endif
