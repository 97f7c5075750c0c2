import Dispatch
import FoundationEssentials
import Glibc
import Logging
import ServiceLifecycle

/// The Unix socket at which a running agent answers `edge-agent status`: `agent.sock` in the state directory, for the
/// agent's user alone. Whoever connects is sent one JSON object and the end; nothing is read from it.
enum StatusSocket {
    static let fileName = "agent.sock"
    /// No answer is longer.
    static let maximumBytes = 4 << 20
    /// How long either side waits for the other.
    static let patienceSeconds = 5

    /// The socket's path may be longer than the 107 bytes an address holds, so the address goes by the open directory.
    static func withAddress<Result>(
        _ directory: String,
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result? {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array("/proc/self/fd/\(descriptor)/\(fileName)".utf8) + [0]
        guard path.count <= MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    /// A socket with time limits for reading and writing; nil where there are no more descriptors.
    static func make() -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        limit(descriptor)
        return descriptor
    }

    static func limit(_ descriptor: Int32) {
        var limit = timeval(tv_sec: patienceSeconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
    }
}

/// Answers at the socket for as long as the agent runs.
struct StatusService: Service {
    /// Callers that wait for their turn; more are closed at once.
    private static let maximumWaiting = 8

    let directory: String
    let status: RunningStatus
    let logger: Logger

    func run() async throws {
        guard let listener = listen() else {
            // The agent is worth more than its being asked.
            logger.warning(
                "`edge-agent status` will not reach this agent: its socket cannot be made.",
                metadata: ["directory": "\(directory)", "reason": "\(String(errno: errno))"]
            )
            try? await gracefulShutdown()
            return
        }
        let queue = DispatchQueue(label: "edge-agent.status")
        let source = DispatchSource.makeReadSource(fileDescriptor: listener, queue: queue)
        let (callers, continuation) = AsyncStream<Int32>.makeStream(
            bufferingPolicy: .bufferingOldest(Self.maximumWaiting)
        )
        source.setEventHandler {
            let caller = accept(listener, nil, nil)
            guard caller >= 0 else { return }
            _ = fcntl(caller, F_SETFD, FD_CLOEXEC)
            if case .enqueued = continuation.yield(caller) { return }
            close(caller)
        }
        source.setCancelHandler { close(listener) }
        source.activate()
        await cancelWhenGracefulShutdown {
            for await caller in callers {
                let bytes = Self.encode(await status.report())
                // On the queue: a caller that does not read holds up other callers, and nothing else.
                await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
                    queue.async {
                        Self.answer(caller, bytes)
                        done.resume()
                    }
                }
            }
        }
        source.cancel()
        unlink(directory + "/" + StatusSocket.fileName)
    }

    /// - Returns: nil with `errno` set.
    private func listen() -> Int32? {
        guard let descriptor = StatusSocket.make() else { return nil }
        // Left by an agent that was killed; the lock of the state directory says that it is nobody's.
        unlink(directory + "/" + StatusSocket.fileName)
        let isBound = StatusSocket.withAddress(directory) { bind(descriptor, $0, $1) == 0 } ?? false
        // The directory is the agent's alone (0700); this holds where somebody has opened it.
        guard isBound, chmod(directory + "/" + StatusSocket.fileName, 0o600) == 0,
            Glibc.listen(descriptor, Int32(Self.maximumWaiting)) == 0
        else {
            let reason = errno
            close(descriptor)
            errno = reason
            return nil
        }
        return descriptor
    }

    private static func encode(_ report: StatusReport) -> [UInt8] {
        // `try?`: texts and numbers always encode.
        (try? JSONEncoder().encode(report)).map(Array.init) ?? []
    }

    private static func answer(_ caller: Int32, _ bytes: [UInt8]) {
        defer { close(caller) }
        StatusSocket.limit(caller)
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { send(caller, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return }
            rest = rest.dropFirst(written)
        }
    }
}

/// Asks a running agent.
enum StatusClient {
    /// - Returns: nil where no agent runs on this state directory.
    /// - Throws: `AgentError` where one does and does not answer.
    static func ask(_ stateDirectory: String) throws(AgentError) -> StatusReport? {
        guard let descriptor = StatusSocket.make() else {
            throw AgentError(.unavailable, "no socket: \(String(errno: errno))")
        }
        defer { close(descriptor) }
        let path = stateDirectory + "/" + StatusSocket.fileName
        guard let isConnected = StatusSocket.withAddress(stateDirectory, { connect(descriptor, $0, $1) == 0 }) else {
            return nil
        }
        guard isConnected else {
            switch errno {
            case ENOENT, ECONNREFUSED, ENOTDIR: return nil
            case EACCES, EPERM:
                throw AgentError(
                    .noPermission,
                    "\(path) is another user's; run this as the agent's user, for instance: sudo -u edge-agent edge-agent status"
                )
            default: throw AgentError(.unavailable, "\(path) cannot be reached: \(String(errno: errno))")
            }
        }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while content.count <= StatusSocket.maximumBytes {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            content += chunk[..<count]
        }
        guard let report = try? JSONDecoder().decode(StatusReport.self, from: Data(content)) else {
            throw AgentError(
                .unavailable,
                "the running agent did not answer within \(StatusSocket.patienceSeconds) s, or not with a status this version "
                    + "(\(AgentVersion.current)) knows; its log says more"
            )
        }
        return report
    }
}
