import Synchronization

/// When those whose token is good may open a session: all nodes together, and a node that comes back too often.
///
/// Strangers are not counted here, so they cannot take a node's turn (`FailureLimiter` has theirs). Nodes behind one NAT or
/// proxy share an address, so addresses are not counted either.
final class AdmissionGate: Sendable {
    struct Settings: Sendable, Equatable {
        var handshakes = AdmissionMachine.Settings()
        /// Sessions one node opens at once before it is asked to slow down.
        var sessionsPerNode = 20
        /// After that, one each.
        var sessionInterval = Duration.seconds(5)
    }

    private struct State {
        var handshakes: AdmissionMachine
        var sessions: BucketMap<NodeID>
        var random = SystemRandomNumberGenerator()
    }

    private let clock: HubClock
    private let state: Mutex<State>

    init(_ settings: Settings = Settings(), clock: HubClock) {
        self.clock = clock
        state = Mutex(
            State(
                handshakes: AdmissionMachine(settings.handshakes, now: clock.now()),
                sessions: BucketMap(Pace(capacity: settings.sessionsPerNode, interval: settings.sessionInterval))
            )
        )
    }

    /// How long a handshake with a good token must wait; nil where it goes on.
    func admit() -> Duration? {
        let now = clock.now()
        return state.withLock { state in
            guard !state.handshakes.admit(now: now) else { return nil }
            return state.handshakes.nextTurn(now: now, using: &state.random)
        }
    }

    /// How long anybody must wait because the hub goes away; nil while it does not.
    func awayTime() -> Duration? {
        let now = clock.now()
        return state.withLock { state in
            guard state.handshakes.isDraining else { return nil }
            return state.handshakes.nextTurn(now: now, using: &state.random)
        }
    }

    /// How long a node must wait for its next session; nil where it may have it now.
    func pace(_ node: NodeID) -> Duration? {
        let now = clock.now()
        return state.withLock { $0.sessions.take(node, now: now) }
    }

    /// Admits nobody from now on.
    func drain() {
        state.withLock { $0.handshakes.drain() }
    }
}
