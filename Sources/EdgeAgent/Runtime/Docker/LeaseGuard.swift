import Glibc

/// Ends a container on trial when its lease is over, also where the agent is dead:
/// `edge-agent guard-lease <bot directory> <launch id> <container id> <engine's socket>`.
///
/// A container has no supervisor that would look at the lease, so each launch on trial gets this small process, which ends with
/// the trial. It speaks to the engine by its own hand, because there is one thing to say, and a process that has to work when
/// nothing else does should need little.
///
/// ```
/// look ──no lease any more, or another launch──► exit
///  ▲ └──lease over──► kill ──killed, not running, or gone──► exit
///  ├──────── 500 ms ───┤
///  └──── let it go on ◄┘ paused
/// ```
enum LeaseGuard {
    static let command = "guard-lease"
    private static let answerSeconds = 10
    private static let statusLineBytes = 64

    /// Runs in place of the agent's own `main`.
    static func main(_ arguments: [String]) -> Never {
        guard arguments.count == 4 else { exit(64) }
        let (directory, launchID, container, socket) = (arguments[0], arguments[1], arguments[2], arguments[3])
        guard chdir(BotDirectory.control(of: directory)) == 0 else { exit(66) }
        while ContainerRecord.read(ContainerRecord.fileName)?.launchID == launchID {
            switch RuntimeLease.read(RuntimeLease.fileName) {
            case .released: exit(0)
            case .until(let end) where end > BootTime.milliseconds(): break
            case .until: if kill(container, socket) { exit(0) }
            }
            poll(nil, 0, Int32(clamping: RuntimeLease.lookMilliseconds))
        }
        exit(0)
    }

    /// - Returns: whether it does not run any more, by the engine's word.
    private static func kill(_ container: String, _ path: String) -> Bool {
        switch verdict(killed: ask("kill", container, path)) {
        case .ended: true
        case .unknown: false
        // It does not run, or it is paused, where some engines let no signal through: which, this answer tells.
        case .refused: !isResumed(ask("unpause", container, path))
        }
    }

    /// The status of the engine's answer; nil where there is none.
    private static func ask(_ action: String, _ container: String, _ path: String) -> String? {
        guard let descriptor = connected(path) else { return nil }
        defer { close(descriptor) }
        let head = "POST /containers/\(container)/\(action) HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n"
        let request = Array(head.utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return nil }
        var answer: [UInt8] = []
        while answer.count < statusLineBytes, !answer.contains(UInt8(ascii: "\n")) {
            var bytes = [UInt8](repeating: 0, count: statusLineBytes)
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            answer += bytes.prefix(count)
        }
        return status(answer)
    }

    /// The three digits of a status line; nil for what is none.
    static func status(_ answer: [UInt8]) -> String? {
        let words = answer.split(separator: UInt8(ascii: " "))
        guard words.count > 1, words[0].starts(with: Array("HTTP/".utf8)) else { return nil }
        return String(decoding: words[1].prefix(3), as: UTF8.self)
    }

    enum Verdict: Equatable {
        case ended
        /// It does not run, or is paused.
        case refused
        case unknown
    }

    /// What the answer to a kill says: it was killed (204), is gone (404), or is not to be reached so (409).
    static func verdict(killed status: String?) -> Verdict {
        switch status {
        case "204", "404": .ended
        case "409": .refused
        default: .unknown
        }
    }

    /// Whether a container may run by the answer to an unpause: it was paused and goes on (204), or nobody knows. One that is
    /// not paused (304, 409, 500) and could not be killed does not run.
    static func isResumed(_ status: String?) -> Bool { status.map { $0.hasPrefix("2") } ?? true }

    private static func connected(_ path: String) -> Int32? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let isShort = withUnsafeMutableBytes(of: &address.sun_path) { field in
            guard bytes.count < field.count else { return false }
            field.copyBytes(from: bytes)
            return true
        }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard isShort, descriptor >= 0 else { return nil }
        var limit = timeval(tv_sec: answerSeconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }
}
