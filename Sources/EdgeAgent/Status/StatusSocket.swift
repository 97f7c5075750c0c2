import Dispatch
import FoundationEssentials
import Glibc
import Logging
import ServiceLifecycle

/// The Unix socket at which a running agent answers `edge-agent status`: `agent.sock` in the state directory, for the
/// agent's user alone. Whoever connects is sent one JSON object and the end; nothing is read from it.
enum StatusSocket {
    /// No answer is longer.
    static let maximumBytes = 4 << 20
    static let patienceSeconds = 5

    static func at(_ directory: String) -> LocalSocket {
        LocalSocket(directory: directory, name: "agent.sock", type: SOCK_STREAM, patienceSeconds: patienceSeconds)
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
        let socket = StatusSocket.at(directory)
        // A socket left by an agent that was killed is nobody's: this one holds the lock of the state directory.
        guard let listener = socket.listen(waiting: Self.maximumWaiting) else {
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
                        socket.limit(caller)
                        Self.answer(caller, bytes)
                        done.resume()
                    }
                }
            }
        }
        source.cancel()
        unlink(socket.path)
    }

    private static func encode(_ report: StatusReport) -> [UInt8] {
        // `try?`: texts and numbers always encode.
        (try? JSONEncoder().encode(report)).map(Array.init) ?? []
    }

    private static func answer(_ caller: Int32, _ bytes: [UInt8]) {
        defer { close(caller) }
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
        let socket = StatusSocket.at(stateDirectory)
        guard let descriptor = socket.connect() else {
            switch errno {
            case ENOENT, ECONNREFUSED, ENOTDIR: return nil
            case EACCES, EPERM:
                throw AgentError(
                    .noPermission,
                    "\(socket.path) is another user's; run this as the agent's user, for instance: sudo -u edge-agent edge-agent status"
                )
            default: throw AgentError(.unavailable, "\(socket.path) cannot be reached: \(String(errno: errno))")
            }
        }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while content.count <= StatusSocket.maximumBytes {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            content += chunk[..<count]
        }
        guard let report = try? OutsideJSON.decode(StatusReport.self, from: content) else {
            throw AgentError(
                .unavailable,
                "the running agent did not answer within \(StatusSocket.patienceSeconds) s, or not with a status this version "
                    + "(\(AgentVersion.current)) knows; its log says more"
            )
        }
        return report
    }
}
