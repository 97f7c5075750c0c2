import Glibc
import Synchronization

/// Names to addresses by the system's `getaddrinfo`, each time anew.
///
/// `getaddrinfo` blocks for as long as it likes and cannot be stopped, so each look-up has a thread of its own. A
/// caller that gives up leaves the thread to end by itself; how many may be in that state is bounded.
enum Resolver {
    /// Look-ups under way in the process, abandoned ones included. Beyond it a look-up fails at once.
    private static let maxLookups = 8
    private static let lookupCount = Mutex(0)

    /// Hands a result to whoever comes first: the look-up, the deadline, or cancellation.
    private final class Lookup: Sendable {
        private let continuation: Mutex<CheckedContinuation<[SocketAddress], any Error>?>

        init(_ continuation: CheckedContinuation<[SocketAddress], any Error>) {
            self.continuation = Mutex(continuation)
        }

        func finish(_ result: Result<[SocketAddress], any Error>) {
            let waiting = continuation.withLock { continuation in
                defer { continuation = nil }
                return continuation
            }
            waiting?.resume(with: result)
        }
    }

    /// The addresses of `host`, in the system's order of preference. Throws `WebSocketError` or `CancellationError`.
    static func addresses(
        of host: String,
        port: Int,
        loop: EpollLoop,
        deadline: ContinuousClock.Instant,
        isolation: isolated (any Actor)? = #isolation
    ) async throws -> [SocketAddress] {
        if let literal = SocketAddress(literal: host, port: port) { return [literal] }
        let isAdmitted = lookupCount.withLock { count in
            guard count < maxLookups else { return false }
            count += 1
            return true
        }
        guard isAdmitted else {
            throw WebSocketError(
                .dnsFailed,
                "too many look-ups are waiting for the name server; check this machine's DNS"
            )
        }

        let cancellation = Mutex<(isCancelled: Bool, lookup: Lookup?)>((false, nil))
        var timer: EpollLoop.TimerID?
        defer { timer.map(loop.cancel) }
        return try await withTaskCancellationHandler {
            // A closure is isolated like the function around it only if it captures the isolation.
            _ = isolation
            return try await withCheckedThrowingContinuation {
                (continuation: CheckedContinuation<[SocketAddress], any Error>) in
                let lookup = Lookup(continuation)
                let isCancelled = cancellation.withLock { state in
                    state.lookup = lookup
                    return state.isCancelled
                }
                if isCancelled {
                    lookup.finish(.failure(CancellationError()))
                }
                timer = loop.schedule(at: deadline) {
                    lookup.finish(
                        .failure(
                            WebSocketError.timeout(
                                .dns,
                                "looking up \(host) took too long; check this machine's DNS"
                            )
                        )
                    )
                }
                do throws(WebSocketError) {
                    try OwnedThread.start(name: "dns-lookup") {
                        lookup.finish(lookUp(host, port: port))
                        lookupCount.withLock { $0 -= 1 }
                    }
                } catch {
                    lookupCount.withLock { $0 -= 1 }
                    lookup.finish(.failure(error))
                }
            }
        } onCancel: {
            let lookup = cancellation.withLock { state in
                state.isCancelled = true
                return state.lookup
            }
            lookup?.finish(.failure(CancellationError()))
        }
    }

    private static func lookUp(_ host: String, port: Int) -> Result<[SocketAddress], any Error> {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let failure = getaddrinfo(host, String(port), &hints, &list)
        defer { list.map { freeaddrinfo($0) } }
        guard failure == 0 else { return .failure(WebSocketError(lookupFailure: failure, host: host)) }
        var addresses: [SocketAddress] = []
        var entry = list
        while let current = entry {
            if let address = current.pointee.ai_addr.flatMap({
                SocketAddress($0, byteCount: current.pointee.ai_addrlen)
            }) {
                addresses.append(address)
            }
            entry = current.pointee.ai_next
        }
        guard !addresses.isEmpty else {
            return .failure(WebSocketError(lookupFailure: EAI_NONAME, host: host))
        }
        return .success(addresses)
    }
}

extension WebSocketError {
    /// What the system's resolver answered: there is no such name, or nobody could say.
    fileprivate init(lookupFailure failure: Int32, host: String) {
        // Negative numbers of the C library's that are not in POSIX: no data, and no address of the family asked for.
        let isNotFound = [EAI_NONAME, -5, -9].contains(failure)
        guard !isNotFound else {
            self.init(
                .dnsNotFound,
                "the name \(host) does not exist in DNS, or has no address; check its spelling, and that this machine "
                    + "asks the name server that knows it (/etc/resolv.conf)"
            )
            return
        }
        let reason = gai_strerror(failure).map { String(cString: $0) } ?? "error \(failure)"
        self.init(
            .dnsFailed,
            "the name server did not say what \(host) is (\(reason)); check this machine's network and "
                + "/etc/resolv.conf"
        )
    }
}
