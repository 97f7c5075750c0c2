import CLinux
import Glibc
import WireFormat

/// Everything that descends from this process, which is its subreaper: who loses their parent becomes a child of this one.
///
/// So there is nothing left exactly when the kernel says that it has no child. No list of processes can say that: one that forks
/// and ends, again and again, is on none for long enough. Such a chain is broken by signals that the kernel takes up before the
/// next fork: sent to whole process groups, which leave nobody out, and at once to each child as it is adopted.
struct Progeny: ~Copyable {
    /// One pass over the children takes microseconds, one over `/proc` milliseconds.
    private static let freezeMilliseconds: UInt64 = 50
    /// `__WALL`: also of children that end without a signal.
    private static let all: Int32 = 0x4000_0000

    /// Of this process's children; -1 where the kernel does not list them.
    private let list: Int32
    private let session = getsid(0)
    private var buffer = [UInt8](repeating: 0, count: 16 << 10)
    /// The one whose end is wanted, and how it ended.
    var first: pid_t = 0
    private(set) var status: Int32?

    init() {
        list = PseudoFile.open("/proc/self/task/\(getpid())/children", O_RDONLY)
    }

    deinit {
        if list >= 0 { close(list) }
    }

    /// Nobody is left, also nobody who has ended and was not waited for.
    var isExtinct: Bool {
        var information = siginfo_t()
        return waitid(P_ALL, 0, &information, WEXITED | WNOHANG | WNOWAIT | Self.all) != 0 && errno == ECHILD
    }

    /// Waits for all who have ended. They are on every list until then.
    mutating func reap() {
        while true {
            var ended: Int32 = 0
            let pid = waitpid(-1, &ended, WNOHANG | Self.all)
            guard pid > 0 else { return }
            if pid == first { status = ended }
        }
    }

    /// Stops everyone, so that nobody makes another while they are killed, and kills everyone.
    mutating func end() {
        freeze()
        for process in SystemProcesses.descendants(of: getpid()) where !process.isZombie {
            signalGroup(of: process.pid, SIGKILL)
            process.identity.signal(SIGKILL)
        }
        signalChildren(SIGKILL)
    }

    /// Until a pass finds nobody who is not stopped, or time is up: who is stuck in the kernel does not stop.
    private mutating func freeze() {
        let deadline = MonotonicTime.milliseconds() + Self.freezeMilliseconds
        repeat {
            // A chain that is between two links is seen by one of many passes.
            for _ in 0..<64 {
                reap()
                if isExtinct { return }
                signalChildren(SIGSTOP)
            }
            let moving = SystemProcesses.descendants(of: getpid()).filter { !$0.isZombie && !$0.isStopped }
            for process in moving {
                signalGroup(of: process.pid, SIGSTOP)
                process.identity.signal(SIGSTOP)
            }
            if moving.isEmpty { return }
        } while MonotonicTime.milliseconds() < deadline
    }

    /// A child's number is its own until this process waits for it, so it needs no descriptor.
    private mutating func signalChildren(_ number: Int32) {
        guard list >= 0 else { return }
        let count = buffer.withUnsafeMutableBytes { pread(list, $0.baseAddress, $0.count, 0) }
        guard count > 0 else { return }
        for text in buffer[..<count].split(separator: UInt8(ascii: " ")) {
            guard let pid = pid_t(decimal: String(decoding: text, as: UTF8.self)), pid > 0 else { continue }
            signalGroup(of: pid, number)
            kill(pid, number)
        }
    }

    /// Also to those of its group that nobody has seen. The groups of another session than this one are descendants' alone.
    private func signalGroup(of pid: pid_t, _ number: Int32) {
        let (group, session) = (getpgid(pid), getsid(pid))
        guard group > 1, session > 1, session != self.session else { return }
        kill(-group, number)
    }
}
