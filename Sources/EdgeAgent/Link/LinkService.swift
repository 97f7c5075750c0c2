import Logging
import ServiceLifecycle
import WebSocketKitLite
import WireFormat

/// Keeps the node connected to its hub: dials, runs one session after the other, waits in between.
///
/// ```
/// connecting ──► connected ──► waiting ──► connecting …
///      └──────────────┴──► credential problem (slow retries; bots run on)
/// ```
struct LinkService<Logs: LogSource>: Service {
    /// How often a credential that was refused is tried again: an operator may have undone the revocation.
    private static var credentialRetryInterval: Duration { .seconds(300) }
    /// How soon a new credential is noticed.
    private static var credentialLookInterval: Duration { .seconds(2) }

    let endpoint: Endpoint
    /// The token as it is now; pairing again replaces it, and so may the hub.
    let credentials: CredentialSource
    let pairing: PairingAdvice
    let dialer: Dialer
    let session: LinkSession<Logs>
    let status: LinkStatus
    /// The waits between connections, from the first on.
    let backoff: ReconnectBackoff
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var backoff = backoff
            var random = SystemRandomNumberGenerator()
            while !Task.isCancelled {
                let token = credentials.current.token
                let pause = await connectOnce(token, &backoff, &random)
                if hasCredentialProblem {
                    await waitForOtherToken(than: token, atMost: pause)
                } else {
                    // Ends early only because the agent stops, which the loop then sees.
                    try? await Task.sleep(for: pause)
                }
            }
        }
    }

    /// One connection from dialing to its end.
    ///
    /// - Returns: how long to wait before the next.
    private func connectOnce(
        _ token: Secret,
        _ backoff: inout ReconnectBackoff,
        _ random: inout SystemRandomNumberGenerator
    ) async -> Duration {
        if !hasCredentialProblem { status.connecting() }
        let connection: WebSocketConnection
        do {
            connection = try await WebSocketClient.connect(
                to: endpoint,
                configuration: clientConfiguration(token),
                dialer: dialer
            )
        } catch {
            if error.code == .cancelled { return .zero }
            if error.httpFailure?.status == 401 { return refused(token, .unknown, "\(error)") }
            backoff.connectionFailed(retryAfter: error.httpFailure?.retryAfter)
            let delay = backoff.nextDelay(using: &random)
            waiting(delay, LinkFault(error), reason: error.message)
            return delay
        }
        // On the connection's own thread a message goes in and out without a hop.
        let executor = dialer.loop.taskExecutor
        let ending = await session.run(WebSocketTransport(connection: connection), executor: executor) { welcome in
            keep(token)
            status.connected(welcome)
            logger.info(
                "connected",
                metadata: [
                    "hub": "\(endpoint.authority)", "node_id": "\(welcome.nodeID)", "node_name": "\(welcome.nodeName)",
                    "session_epoch": "\(welcome.sessionEpoch)",
                ]
            )
        }
        if ending.cause == .cancelled { return .zero }
        if let problem = ending.credentialProblem { return refused(token, problem, ending.reason) }
        if ending.isTurnedAway { turnedAway() }
        backoff.sessionEnded(ending)
        let delay = backoff.nextDelay(using: &random)
        waiting(delay, LinkFault(ending), reason: "\(ending)")
        return delay
    }

    /// Said once, not with every retry.
    private var hasCredentialProblem: Bool {
        if case .credentialProblem = status.snapshot.phase { true } else { false }
    }

    private func clientConfiguration(_ token: Secret) -> ClientConfiguration {
        var configuration = ClientConfiguration()
        configuration.headers = ["Authorization": "Bearer \(token.reveal())"]
        configuration.subprotocols = ["edge.v1"]
        configuration.deflate = .stateless
        configuration.connection.maxMessageBytes = MuxLimits().maxTransmissionBytes
        // What waits here is out of the reach of the priorities: the next frame is chosen when this one is with the system.
        configuration.maxQueuedWriteBytes = 0
        return configuration
    }

    /// A refused credential is replaced by a person, with a command that writes a file.
    private func waitForOtherToken(than refused: Secret, atMost limit: Duration) async {
        let end = ContinuousClock.now + limit
        while !Task.isCancelled, ContinuousClock.now < end, credentials.current.token == refused {
            // Ends early only because the agent stops.
            try? await Task.sleep(for: min(Self.credentialLookInterval, end - .now))
        }
    }

    private func turnedAway() {
        session.bots.contact.markTurnedAway()
        logger.warning(
            "the hub takes this machine for a copy of the node; bots that do not run here yet are not started",
            metadata: ["hub": "\(endpoint.authority)"]
        )
    }

    private func waiting(_ delay: Duration, _ fault: LinkFault, reason: String) {
        status.waiting(reason, fault: fault, until: .now + delay)
        session.bots.contact.markUnreachable()
        logger.warning(
            "not connected, will try again",
            metadata: ["hub": "\(endpoint.authority)", "in": "\(delay)", "reason": "\(reason)"]
        )
    }

    /// A token is proved by the session it has opened.
    private func keep(_ token: Secret) {
        do {
            if try credentials.accepted(token) { logger.info("the new token is proved, the old one is dropped") }
        } catch {
            logger.error("the old token could not be dropped", metadata: ["reason": "\(error)"])
        }
    }

    /// A new token that fails its proof makes room for the old one, which is tried at once.
    private func refused(_ token: Secret, _ problem: CredentialProblem, _ reason: String) -> Duration {
        guard credentials.refused(token) else { return credentialProblem(problem, reason) }
        logger.warning("the hub refused the new token, going back to the old one", metadata: ["reason": "\(reason)"])
        return .zero
    }

    private func credentialProblem(_ problem: CredentialProblem, _ reason: String) -> Duration {
        let line = pairing.line(for: problem)
        if !hasCredentialProblem {
            logger.error("\(line)", metadata: ["hub": "\(endpoint.authority)", "reason": "\(reason)"])
        }
        session.bots.contact.markUnreachable()
        status.credentialProblem(line, until: .now + Self.credentialRetryInterval)
        return Self.credentialRetryInterval
    }
}
