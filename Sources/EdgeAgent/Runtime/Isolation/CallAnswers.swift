import CLinux
import Glibc
import WireFormat

/// Answers for what the filter of a bot's system calls asks about: calls that Landlock does not see and whose arguments no filter
/// can judge.
///
/// ```
/// mode, owner, times, attributes ──► what is meant, opened here, once ──► inside a writable place? ──► done by the supervisor itself
/// limits, priorities ──► a process of this launch? ──► goes on as it is
/// else ──► refused
/// ```
/// A path is read from the bot's memory and resolved here once, so nothing the bot changes meanwhile leads elsewhere. Where the
/// process cannot be looked into the answer is no. Single-threaded, and only for bots of the supervisor's own user: what is done
/// here is done with its rights.
struct CallAnswers: ~Copyable {
    /// Questions answered in one go, so that a bot that asks without end does not keep its supervisor from all else.
    private static let maximumAtOnce = 64
    private static let maximumPathBytes = 4_096
    private static let maximumAttributeBytes = 64 << 10

    let descriptor: Int32
    /// The cage's writable places, behind every link.
    private let writable: [String]

    init(_ descriptor: Int32, _ cage: Cage) {
        self.descriptor = descriptor
        writable = cage.writable.compactMap { RealPath.of($0) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Whether the supervisor may look into the processes it starts: Yama can forbid that to all but root.
    static func arePossible() -> Bool {
        guard let scope = PseudoFile.read("/proc/sys/kernel/yama/ptrace_scope") else { return true }
        return geteuid() == 0 || scope.first.map { $0 <= UInt8(ascii: "1") } ?? true
    }

    /// Answers what is asked now.
    ///
    /// - Returns: false where nobody can ask any more.
    borrowing func answer() -> Bool {
        for _ in 0..<Self.maximumAtOnce {
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&wanted, 1, 0) > 0 else { return true }
            guard wanted.revents & Int16(POLLIN) != 0 else { return false }
            var question = CLinux_question()
            guard CLinux_question_take(descriptor, &question) == 0 else { continue }
            let verdict = verdict(question)
            _ = CLinux_question_answer(descriptor, question.number, verdict)
        }
        return true
    }

    private static let goesOn: Int32 = -1

    private borrowing func verdict(_ question: CLinux_question) -> Int32 {
        let call = CLinux_asked_call(question.call)
        let arguments = Arguments(question)
        switch call.what {
        case CLINUX_ASKED_PROCESS: return isOwn(pid_t(truncatingIfNeeded: arguments[0])) ? Self.goesOn : EPERM
        case CLINUX_ASKED_PRIORITY:
            // PRIO_PROCESS is 0, IOPRIO_WHO_PROCESS 1; groups and users are not judged.
            let isOfOne = UInt32(truncatingIfNeeded: arguments[0]) == UInt32(clamping: call.flags)
            return isOfOne && isOwn(pid_t(truncatingIfNeeded: arguments[1])) ? Self.goesOn : EPERM
        case CLINUX_ASKED_NOTHING: return EPERM
        default: break
        }
        guard let memory = ProcessMemory(question.thread) else { return EPERM }
        // From here on the memory is known to be of who asked.
        guard CLinux_question_stands(descriptor, question.number) != 0 else { return EPERM }
        do throws(Refusal) {
            let file = try place(call, arguments, question.thread, memory)
            defer { close(file) }
            try check(file)
            try change(file, call, arguments, memory)
            return 0
        } catch {
            return error.code
        }
    }

    // MARK: What is meant

    private borrowing func place(
        _ call: CLinux_asked_call,
        _ arguments: Arguments,
        _ thread: UInt32,
        _ memory: borrowing ProcessMemory
    ) throws(Refusal) -> Int32 {
        let flags = call.flags >= 0 ? Int32(truncatingIfNeeded: arguments[call.flags]) : 0
        let start = call.descriptor >= 0 ? Int32(truncatingIfNeeded: arguments[call.descriptor]) : AT_FDCWD
        let address = call.path >= 0 ? arguments[call.path] : 0
        let path = address == 0 ? [] : try memory.text(at: address, limit: Self.maximumPathBytes)
        if path.isEmpty {
            // The descriptor itself: futimens and its like, or AT_EMPTY_PATH.
            guard address == 0 && start != AT_FDCWD || flags & CLinux_at_empty_path != 0 else { throw Refusal(ENOENT) }
            return try opened("/proc/\(thread)/fd/\(start)")
        }
        let followsLinks = call.means_links == 0 && flags & AT_SYMLINK_NOFOLLOW == 0
        if let number = Self.ownDescriptor(path), followsLinks { return try opened("/proc/\(thread)/fd/\(number)") }
        let base = start == AT_FDCWD ? "/proc/\(thread)/cwd" : "/proc/\(thread)/fd/\(start)"
        let folder = try opened(path.first == UInt8(ascii: "/") ? "/" : base)
        defer { close(folder) }
        let named = CLinux_open_named(folder, path.map(CChar.init(bitPattern:)) + [0], followsLinks ? 1 : 0)
        guard named >= 0 else { throw Refusal(errno) }
        return named
    }

    private func opened(_ path: String) throws(Refusal) -> Int32 {
        let descriptor = RegularFile.openPlace(path)
        guard descriptor >= 0 else { throw Refusal(errno == ENOENT ? EBADF : errno) }
        return descriptor
    }

    /// The C library names open files so where the kernel has no better call.
    private static func ownDescriptor(_ path: [UInt8]) -> Int32? {
        let text = String(decoding: path, as: UTF8.self)
        guard text.hasPrefix("/proc/self/fd/") else { return nil }
        return Int32(decimal: String(text.dropFirst("/proc/self/fd/".count)))
    }

    /// What is at the descriptor must lie where the bot may write.
    private borrowing func check(_ file: Int32) throws(Refusal) {
        guard let place = SymbolicLink.target("/proc/self/fd/\(file)"),
            writable.contains(where: { PathText.isInside(place, $0) })
        else { throw Refusal(EACCES) }
    }

    // MARK: Doing it

    private borrowing func change(
        _ file: Int32,
        _ call: CLinux_asked_call,
        _ arguments: Arguments,
        _ memory: borrowing ProcessMemory
    ) throws(Refusal) {
        let path = "/proc/self/fd/\(file)"
        let value = Int(clamping: call.value)
        var code: Int32 = 0
        switch call.what {
        case CLINUX_ASKED_MODE: code = chmod(path, mode_t(truncatingIfNeeded: arguments[value]) & 0o7777)
        case CLINUX_ASKED_OWNER:
            let (user, group) = (
                uid_t(truncatingIfNeeded: arguments[value]), gid_t(truncatingIfNeeded: arguments[value + 1])
            )
            var status = stat()
            guard fstat(file, &status) == 0 else { throw Refusal(errno) }
            // A supervisor that runs as root could do more than its bot.
            guard user == .max || user == status.st_uid, group == .max || group == status.st_gid || group == getegid()
            else { throw Refusal(EPERM) }
            code = chown(path, user, group)
        case CLINUX_ASKED_TIMES:
            let times = try memory.times(at: arguments[value], unit: call.times)
            code = times.withUnsafeBufferPointer { utimensat(AT_FDCWD, path, $0.isEmpty ? nil : $0.baseAddress, 0) }
        default: code = try changeAttribute(path, call, arguments, memory)
        }
        guard code == 0 else { throw Refusal(errno) }
    }

    private borrowing func changeAttribute(
        _ path: String,
        _ call: CLinux_asked_call,
        _ arguments: Arguments,
        _ memory: borrowing ProcessMemory
    ) throws(Refusal) -> Int32 {
        let value = Int(clamping: call.value)
        let name = String(decoding: try memory.text(at: arguments[value], limit: 256), as: UTF8.self)
        // Others give rights, and a supervisor that runs as root could set them.
        guard name.hasPrefix("user.") else { throw Refusal(EPERM) }
        guard call.what == CLINUX_ASKED_ATTRIBUTE else { return CLinux_remove_attribute(path, name) }
        let count = arguments[value + 2]
        guard count <= UInt64(clamping: Self.maximumAttributeBytes) else { throw Refusal(E2BIG) }
        let content = try memory.bytes(at: arguments[value + 1], count: Int(clamping: count))
        let flags = Int32(truncatingIfNeeded: arguments[value + 3])
        return content.withUnsafeBytes { CLinux_set_attribute(path, name, $0.baseAddress, $0.count, flags) }
    }

    /// Whether the thread is of this launch.
    private func isOwn(_ thread: pid_t) -> Bool {
        guard thread > 0, let text = PseudoFile.read("/proc/\(thread)/status") else { return false }
        let line = text.split(separator: UInt8(ascii: "\n")).first { $0.starts(with: "Tgid:".utf8) }
        guard let line,
            let process = pid_t(decimal: String(decoding: line.dropFirst(5).drop { $0 < 0x30 }, as: UTF8.self))
        else { return false }
        return process != getpid() && SystemProcesses.ancestry(of: process).contains(getpid())
    }
}

/// Why a call is not carried out, as an error number.
private struct Refusal: Error {
    let code: Int32

    init(_ code: Int32) { self.code = code }
}

/// The six arguments of a call.
private struct Arguments {
    private let values: [UInt64]

    init(_ question: CLinux_question) {
        let (a, b, c, d, e, f) = question.arguments
        values = [a, b, c, d, e, f]
    }

    subscript(_ index: some BinaryInteger) -> UInt64 { values[Int(clamping: index)] }
}

/// Reads what a process that waits for an answer points at.
private struct ProcessMemory: ~Copyable {
    private let descriptor: Int32

    /// Nil where it may not be looked into.
    init?(_ thread: UInt32) {
        descriptor = PseudoFile.open("/proc/\(thread)/mem", O_RDONLY)
        if descriptor < 0 { return nil }
    }

    deinit { close(descriptor) }

    borrowing func bytes(at address: UInt64, count: Int) throws(Refusal) -> [UInt8] {
        guard count > 0 else { return [] }
        guard let offset = off_t(exactly: address) else { throw Refusal(EFAULT) }
        var content = [UInt8](repeating: 0, count: count)
        guard pread(descriptor, &content, count, offset) == count else { throw Refusal(EFAULT) }
        return content
    }

    /// Up to a zero byte.
    borrowing func text(at address: UInt64, limit: Int) throws(Refusal) -> [UInt8] {
        var content: [UInt8] = []
        var next = address
        while content.count < limit {
            // Not past the end of a page, behind which nothing may be.
            let count = min(limit - content.count, Int(clamping: 4_096 - next % 4_096))
            let part = try bytes(at: next, count: count)
            if let end = part.firstIndex(of: 0) { return content + part[..<end] }
            content += part
            next &+= UInt64(clamping: count)
        }
        throw Refusal(ENAMETOOLONG)
    }

    /// Access and change; empty for now.
    borrowing func times(at address: UInt64, unit: Int32) throws(Refusal) -> [timespec] {
        guard address != 0 else { return [] }
        let content = try bytes(at: address, count: unit == 2 ? 16 : 32)
        let numbers = content.withUnsafeBytes { bytes in
            stride(from: 0, to: bytes.count, by: 8).map { bytes.loadUnaligned(fromByteOffset: $0, as: Int.self) }
        }
        if unit == 2 { return [timespec(tv_sec: numbers[0], tv_nsec: 0), timespec(tv_sec: numbers[1], tv_nsec: 0)] }
        let factor = unit == 1 ? 1_000 : 1
        let (first, second) = (numbers[1].clampedMultiplied(by: factor), numbers[3].clampedMultiplied(by: factor))
        return [timespec(tv_sec: numbers[0], tv_nsec: first), timespec(tv_sec: numbers[2], tv_nsec: second)]
    }
}
