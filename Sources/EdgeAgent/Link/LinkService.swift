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
/// Where the node was paired with another hub meanwhile, whatever it is at ends, and the next hub is dialed.
struct LinkService<Logs: LogSource>: Service {
    /// How often a credential that was refused is tried again: an operator may have undone the revocation.
    private static var credentialRetryInterval: Duration { .seconds(300) }
    /// How soon a new credential is noticed.
    private static var credentialLookInterval: Duration { .seconds(2) }

    /// Which hub it is and the token as it is now; pairing again replaces both, and the hub may replace the token.
    let credentials: CredentialSource
    /// Makes what dials a hub.
    let connection: @Sendable (HubPlace) throws(AgentError) -> HubConnection
    let session: LinkSession<Logs>
    let status: LinkStatus
    /// The waits between connections, from the first on.
    let backoff: ReconnectBackoff
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var place: HubPlace?
            while !Task.isCancelled {
                let now = credentials.place
                if let place { leave(place, for: now) }
                place = now
                await unlessMoved(from: now) { await stay(at: now) }
            }
        }
    }

    /// One connection after the other to one hub, until cancelled.
    private func stay(at place: HubPlace) async {
        let hub: HubConnection
        do {
            hub = try connection(place)
        } catch {
            // The agent does not start with such a pairing; this one was made while it ran.
            status.credentialProblem(error.message, until: .now + Self.credentialRetryInterval)
            logger.error("the hub of the new pairing cannot be dialed", metadata: ["reason": "\(error.message)"])
            session.bots.contact.markSpoken()
            // Ends only with another pairing, or because the agent stops.
            while (try? await Task.sleep(for: Self.credentialRetryInterval)) != nil {}
            return
        }
        let way = Way(place: place, endpoint: hub.webSocket, dialer: hub.dialer)
        var backoff = backoff
        var random = SystemRandomNumberGenerator()
        while !Task.isCancelled {
            guard let token = credentials.token(at: place) else { return }
            let pause = await connectOnce(way, token, &backoff, &random)
            if hasCredentialProblem {
                await waitForOtherToken(than: token, atMost: pause)
            } else {
                // Ends early only because the agent stops or goes elsewhere, which the loop then sees.
                try? await Task.sleep(for: pause)
            }
        }
    }

    /// How often the pairing is looked at; one `stat` each time.
    private static var placeLookInterval: Duration { .seconds(3) }

    /// Does something until it ends, or the node is paired with another hub.
    private func unlessMoved(from place: HubPlace, _ body: @escaping @Sendable () async -> Void) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await body() }
            group.addTask {
                while credentials.place.isSame(as: place), (try? await Task.sleep(for: Self.placeLookInterval)) != nil {
                }
            }
            await group.next()
            group.cancelAll()
        }
    }

    private func leave(_ old: HubPlace, for new: HubPlace) {
        guard !new.isSame(as: old) else { return }
        status.moved()
        logger.notice(
            "this node was paired anew, the agent goes over; its bots run on",
            metadata: [
                "from": "\(old.url) as \(old.nodeID)", "to": "\(new.url) as \(new.nodeID)",
            ]
        )
    }

    /// The hub that is being dialed.
    private struct Way: Sendable {
        let place: HubPlace
        let endpoint: Endpoint
        let dialer: Dialer
    }

    /// One connection from dialing to its end.
    ///
    /// - Returns: how long to wait before the next.
    private func connectOnce(
        _ way: Way,
        _ token: Secret,
        _ backoff: inout ReconnectBackoff,
        _ random: inout SystemRandomNumberGenerator
    ) async -> Duration {
        if !hasCredentialProblem { status.connecting() }
        let connection: WebSocketConnection
        do {
            connection = try await WebSocketClient.connect(
                to: way.endpoint,
                configuration: clientConfiguration(token),
                dialer: way.dialer
            )
        } catch {
            if error.code == .cancelled { return .zero }
            if error.httpFailure?.status == 401 { return refused(way, token, .unknown, "\(error)") }
            backoff.connectionFailed(retryAfter: error.httpFailure?.retryAfter)
            let delay = backoff.nextDelay(using: &random)
            waiting(way, delay, LinkFault(error), reason: error.message)
            return delay
        }
        // On the connection's own thread a message goes in and out without a hop.
        let executor = way.dialer.loop.taskExecutor
        let ending = await session.run(WebSocketTransport(connection: connection), executor: executor) { welcome in
            keep(token)
            status.connected(welcome)
            logger.info(
                "connected",
                metadata: [
                    "hub": "\(way.endpoint.authority)", "node_id": "\(welcome.nodeID)",
                    "node_name": "\(welcome.nodeName)",
                    "session_epoch": "\(welcome.sessionEpoch)",
                ]
            )
        }
        if ending.cause == .cancelled { return .zero }
        if let problem = ending.credentialProblem { return refused(way, token, problem, ending.reason) }
        if ending.isTurnedAway { turnedAway(way) }
        backoff.sessionEnded(ending)
        let delay = backoff.nextDelay(using: &random)
        waiting(way, delay, LinkFault(ending), reason: "\(ending)")
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

    private func turnedAway(_ way: Way) {
        session.bots.contact.markTurnedAway()
        logger.warning(
            "the hub takes this machine for a copy of the node; bots that do not run here yet are not started",
            metadata: ["hub": "\(way.endpoint.authority)"]
        )
    }

    private func waiting(_ way: Way, _ delay: Duration, _ fault: LinkFault, reason: String) {
        status.waiting(reason, fault: fault, until: .now + delay)
        session.bots.contact.markUnreachable()
        logger.warning(
            "not connected, will try again",
            metadata: ["hub": "\(way.endpoint.authority)", "in": "\(delay)", "reason": "\(reason)"]
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
    private func refused(_ way: Way, _ token: Secret, _ problem: CredentialProblem, _ reason: String) -> Duration {
        guard credentials.refused(token) else { return credentialProblem(way, problem, reason) }
        logger.warning("the hub refused the new token, going back to the old one", metadata: ["reason": "\(reason)"])
        return .zero
    }

    private func credentialProblem(_ way: Way, _ problem: CredentialProblem, _ reason: String) -> Duration {
        let line = PairingAdvice(hubURL: way.place.url, nodeName: way.place.nodeName).line(for: problem)
        if !hasCredentialProblem {
            logger.error("\(line)", metadata: ["hub": "\(way.endpoint.authority)", "reason": "\(reason)"])
        }
        session.bots.contact.markUnreachable()
        status.credentialProblem(line, until: .now + Self.credentialRetryInterval)
        return Self.credentialRetryInterval
    }
}
