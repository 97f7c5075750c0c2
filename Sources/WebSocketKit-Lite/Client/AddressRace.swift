/// Carries out a `ConnectionRace` with sockets: the thin shell around the machine, for one race.
actor AddressRace {
    /// A name with more addresses than this is served well enough by the first ones.
    private static let maxAddresses = 16

    private enum News: Sendable {
        case connected(Int)
        case failed(Int, any Error)
        case timePassed
    }

    private let name: String
    private let addresses: [SocketAddress]
    private let loop: EpollLoop
    private let observer: DialObserver?
    private let begin: ContinuousClock.Instant
    private var machine: ConnectionRace
    /// Those that are connecting or connected.
    private var sockets: [Int: SocketHandle] = [:]
    private var failures: [Int: WebSocketError] = [:]

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - name: What is connected to, for messages.
    ///   - addresses: In the system's order of preference.
    init(
        name: String,
        addresses: [SocketAddress],
        limits: ConnectionRace.Limits,
        loop: EpollLoop,
        observer: DialObserver?
    ) {
        self.name = name
        self.addresses = Array(
            ConnectionRace.interleaved(addresses, family: \.family).prefix(Self.maxAddresses)
        )
        self.loop = loop
        self.observer = observer
        begin = .now
        machine = ConnectionRace(count: self.addresses.count, limits: limits, now: begin)
    }

    /// The first connection that is made. Throws the failure of the address that was tried first, for it is the one
    /// the system prefers and tells the most.
    func run() async throws(WebSocketError) -> SocketHandle {
        let outcome = await withTaskGroup(of: News.self) { group -> ConnectionRace.Outcome? in
            defer { group.cancelAll() }
            while true {
                while let action = machine.nextAction() {
                    switch action {
                    case .start(let index): start(index, &group)
                    case .abandon(let index): abandon(index)
                    case .finish(let outcome): return outcome
                    }
                }
                if let deadline = machine.nextDeadline {
                    group.addTask { await self.sleep(until: deadline) }
                }
                let news = await group.next() ?? .timePassed
                guard !Task.isCancelled else { return nil }
                take(news)
            }
        }
        guard let outcome else {
            sockets.values.forEach { $0.close() }
            throw .cancelled
        }
        guard case .won(let index) = outcome, let socket = sockets[index] else { throw failure() }
        observer?(.connected(address: addresses[index].description, took: begin.duration(to: .now)))
        return socket
    }

    private func start(_ index: Int, _ group: inout TaskGroup<News>) {
        do throws(StreamError) {
            let socket = try SocketHandle.connecting(to: addresses[index], loop: loop)
            sockets[index] = socket
            group.addTask { await self.attempt(socket, index) }
        } catch {
            take(.failed(index, error))
        }
    }

    private func attempt(_ socket: SocketHandle, _ index: Int) async -> News {
        do {
            try await socket.connected()
            return .connected(index)
        } catch {
            return .failed(index, error)
        }
    }

    private func sleep(until deadline: ContinuousClock.Instant) async -> News {
        // Ends in no other way than by the deadline, or by cancellation when nobody waits for it any more.
        try? await ReadinessGate(loop: loop).wait(deadline: deadline)
        return .timePassed
    }

    private func take(_ news: News) {
        switch news {
        case .connected(let index):
            machine.succeeded(index, now: .now)
        case .failed(let index, let error):
            sockets[index] = nil
            note(error, of: index)
            machine.failed(index, now: .now)
        case .timePassed:
            machine.tick(now: .now)
        }
    }

    private func abandon(_ index: Int) {
        sockets.removeValue(forKey: index)?.close()
        if case .won = machine.outcome { return }
        note(StreamError.timedOut, of: index)
    }

    /// An attempt that was abandoned fails once more, by being closed; the first reason is the true one.
    private func note(_ error: any Error, of index: Int) {
        guard failures[index] == nil, machine.outcome == nil || error as? StreamError == .timedOut else { return }
        let address = addresses[index].description
        let failure = WebSocketError(
            wrapping: error,
            phase: .tcp,
            doing: "connecting to \(name)" + (name == address ? "" : " (\(address))"),
            advice: "check that the host is up and that no firewall is in between"
        )
        failures[index] = failure
        observer?(.attemptFailed(address: address, failure))
    }

    private func failure() -> WebSocketError {
        guard let first = failures.min(by: { $0.key < $1.key })?.value else {
            return WebSocketError(.dnsNotFound, "the name of \(name) has no address")
        }
        let others = failures.count - 1
        guard others > 0 else { return first }
        return WebSocketError(
            first.code,
            first.message + " (\(others) more of its addresses failed too)",
            cause: first.cause,
            phase: first.phase
        )
    }
}
